-- The Lua face against its own broker: plain asserts, one function a test, a closing line that counts.
local roamqtt = require "roamqtt"

local tests = {}

local function rig(fn)
  local loop = roamqtt.loop()
  local broker = assert(roamqtt.broker { loop = loop })
  local ok, message = xpcall(fn, debug.traceback, loop, broker)
  loop:close()
  assert(ok, message)
end

local function client(loop, broker, options)
  options = options or {}
  options.loop, options.url, options.ca = loop, options.url or broker:url(), broker.ca
  local c = assert(roamqtt.client(options))
  assert(c:connect())
  return c
end

function tests.publish_and_subscribe_over_both_transports()
  rig(function(loop, broker)
    for _, url in ipairs { broker:url(), broker:tcp_url() } do
      local c = client(loop, broker, { url = url })
      for qos = 0, 2 do
        assert(c:subscribe("t/" .. qos, { qos = qos }) == qos)
        assert(c:publish("t/" .. qos, "zero\0byte", { qos = qos }))
        local m = assert(c:next(5))
        assert(m.topic == "t/" .. qos and m.payload == "zero\0byte" and m.qos == qos)
        assert(math.type(m.qos) == "integer")
        assert(c:unsubscribe("t/" .. qos))
      end
      c:close()
    end
  end)
end

function tests.rebind_keeps_the_session()
  rig(function(loop, broker)
    local nat = assert(roamqtt.nat { loop = loop, server = broker.addresses.quic, address = "127.0.10.200" })
    local c = client(loop, broker, { url = "mqtt-quic://" .. nat:inside(), client_id = "s" })
    assert(c:publish("a", "1", { qos = 1 }))
    assert(nat:rebind("127.0.10.203"))
    assert(c:publish("a", "2", { qos = 1 }))
    local peer = broker:clients()[1]
    assert(peer.connects == 1 and peer.moves == 1)
    assert(peer.ip_address:find("127.0.10.203:", 1, true), peer.ip_address)
  end)
end

function tests.results_of_each_command_and_properties()
  local loop = roamqtt.loop()
  local broker = assert(roamqtt.broker { loop = loop, maximum_qos = 1, response_information = "answers/" })
  local c = client(loop, broker, { request_response_information = true, receive_maximum = 10 })
  assert(c:response_information() == "answers/")
  assert(c:subscribe("t", { qos = 2, identifier = 7 }) == 1)
  assert(c:publish("t", "x", { qos = 1, properties = { { "CONTENT_TYPE", "text" }, { "USER_PROPERTY", { "k", "v" } } } }) == 0)
  local props = roamqtt.mqtt.properties(assert(c:next(5)).props)
  local found = {}
  for _, pair in ipairs(props) do
    found[pair[1]] = pair[2]
  end
  assert(found.CONTENT_TYPE == "text" and found.USER_PROPERTY[2] == "v" and found.SUBSCRIPTION_IDENTIFIER == 7)
  assert(c:publish("nobody", "x", { qos = 1 }) == 0x10)
  local none, message, code, reason = c:publish("$SYS/x", "x", { qos = 1 })
  assert(none == nil and message:find("not authorized", 1, true) and code < 0 and reason == 0x87)
  assert(c:unsubscribe("t") == 0 and c:unsubscribe("t") == 0x11)
  loop:close()
end

function tests.manual_acknowledgements()
  rig(function(loop, broker)
    local c = client(loop, broker, { manual_ack = true, receive_maximum = 1 })
    local p = client(loop, broker)
    assert(c:subscribe("t", { qos = 1 }))
    assert(p:publish("t", "1", { qos = 1 }) == 0 and p:publish("t", "2", { qos = 1 }) == 0)
    local first = assert(c:next(5))
    assert(c:next(0.3) == nil) -- the window is one message, and it is not acknowledged
    assert(c:ack(first))
    assert(assert(c:next(5)).payload == "2")
  end)
end

function tests.failures_are_values_with_names()
  rig(function(loop, broker)
    local c = assert(roamqtt.client { loop = loop, url = "mqtt://127.0.0.1:9", reconnect = false })
    local ok, message, code = c:connect(5)
    assert(ok == nil and message:find("^ROAM_E_CONN_REFUSED: ") and code == -200, message)
    local t = client(loop, broker, { url = broker:tcp_url() })
    ok, message = t:migrate("127.0.10.203")
    assert(ok == nil and message:find("^ROAM_E_UNSUPPORTED: "), message)
    ok, message = t:next(0.05)
    assert(ok == nil and message:find("^ROAM_E_TIMEOUT: "), message)
  end)
end

function tests.misuse_names_the_option()
  local loop = roamqtt.loop()
  local ok, message = pcall(roamqtt.client, { loop = loop, url = "mqtt://h", keepalive_s = 5 })
  assert(not ok and message:find("unknown option 'keepalive_s'"), message)
  ok, message = pcall(roamqtt.client, { loop = loop, url = "mqtt://h", keep_alive_s = "5" })
  assert(not ok and message:find("option 'keep_alive_s': expected number, got string"), message)
  local none
  none, message = roamqtt.client { loop = loop, url = "gopher://h" }
  assert(none == nil and message:find("^ROAM_E_OPTION: .*url"), message)
  loop:close()
end

function tests.coroutines_through_the_wait_function()
  local loop = roamqtt.loop { wait = function() coroutine.yield() end }
  local steps, done = 0, false
  local task = coroutine.wrap(function()
    local broker = assert(roamqtt.broker { loop = loop })
    local c = client(loop, broker)
    assert(c:publish("x", "y", { qos = 1 }))
    done = true
  end)
  while not done do
    steps = steps + 1
    assert(steps < 10000000)
    task()
  end
  assert(steps > 1)
  loop:close()
end

function tests.callbacks_may_fail_and_make_objects()
  rig(function(loop, broker)
    local c, inner = client(loop, broker), 0
    assert(c:subscribe("t/#"))
    broker.on_event = function(ev)
      if ev.kind == "PEER_CONNECTED" and inner < 3 then
        inner = inner + 1
        client(loop, broker, { client_id = "inner" .. inner }):close()
        error("the callback's own")
      end
    end
    local outer = assert(roamqtt.client { loop = loop, url = broker:url(), ca = broker.ca, client_id = "outer" })
    local ok, message = pcall(outer.connect, outer)
    assert(not ok and message:find("the callback's own", 1, true), message)
    assert(loop:run(5, function() return outer.connected end) and inner == 3)
    assert(outer:publish("t/1", "still", { qos = 1 }))
    assert(assert(c:next(5)).payload == "still" and #broker:clients() == 5)
  end)
end

function tests.an_error_exit_does_not_hang()
  local loop = roamqtt.loop()
  pcall(function()
    local broker = assert(roamqtt.broker { loop = loop })
    client(loop, broker)
    error("leave everything open")
  end)
  loop = nil
  collectgarbage()
end

dofile "tests/lua/runner.lua"(tests)
