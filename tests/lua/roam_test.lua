-- Roaming, fallback, streams, datagrams and the second visit from Lua: options that work, and events that tell of it.
local roamqtt = require "roamqtt"
local core = require "roamqtt.core"

local tests = {}
local HOME, AWAY = "127.0.10.200", "127.0.10.203"

local function start(options)
  options.loop = options.loop or roamqtt.loop()
  return assert(roamqtt.broker(options)), options.loop
end

local function client(broker, options)
  options.loop, options.ca, options.url = broker.loop, options.ca or broker.ca, options.url or broker:url()
  local c = assert(roamqtt.client(options))
  c.seen, c.kinds = {}, {}
  c.on_event = function(ev)
    c.seen[ev.kind] = ev
    c.kinds[#c.kinds + 1] = ev.kind
  end
  return c
end

local function finish(...)
  for _, thing in ipairs { ... } do
    thing:close()
  end
end

for _, how in ipairs { "probe", "immediate" } do
  tests["a_move_is_told_whole_" .. how] = function()
    local broker, loop = start {}
    local c = client(broker, { local_address = HOME })
    assert(c:connect())
    local moved = assert(c:migrate(AWAY, { how = how }))
    assert(moved.kind == "PATH_MIGRATED" and moved.local_address:find(AWAY .. ":", 1, true) and moved.old_local:find(HOME .. ":", 1, true))
    assert(moved.remote == broker.addresses.quic and moved.old_remote == moved.remote)
    assert(moved.validation_ns > 0 and math.type(moved.gap_ns) == "integer" and moved.at > 0)
    local stats = c:stats()
    assert(stats.probes == (how == "probe" and 1 or 0) and stats.immediates == (how == "probe" and 0 or 1))
    assert(stats.local_address == moved.local_address and stats.transport == "quic")
    assert(not pcall(c.migrate, c, HOME, { how = "soon" }))
    local none, _, code = c:migrate("203.0.113.7")
    assert(none == nil and code < 0 and c.connected)
    local before = c:stats().hints
    assert(c:hint() and c:stats().hints > before and c:get_state() == "connected")
    finish(c, broker, loop)
    assert(c:get_state() == "closed")
  end
end

function tests.trouble_and_a_move_without_a_connection()
  local broker, loop = start {}
  local nat = assert(roamqtt.nat { loop = loop, server = broker.addresses.quic, address = HOME })
  local c = client(broker, { url = "mqtt-quic://" .. nat:inside(), connect_timeout_ns = 300000000, reconnect_min_ns = 50000000,
    reconnect_max_ns = 100000000, ping_ns = 100000000, idle_timeout_ns = 1000000000 })
  assert(c:connect())
  nat:set_down(true)
  assert(loop:run(10, function() return c.seen.PATH_TROUBLE and c.seen.DISCONNECTED end))
  assert(c.seen.PATH_TROUBLE.text and c.seen.DISCONNECTED.retry_ns > 0 and c.seen.DISCONNECTED.rc < 0)
  assert(c:migrate("127.0.0.1") == true)
  nat:set_down(false)
  assert(loop:run(10, function() return c.connected end))
  assert(c.seen.CONNECTED.local_address:find("127.0.0.1:", 1, true))
  finish(c, nat, broker, loop)
end

function tests.udp_is_blocked_and_tls_takes_over()
  local broker, loop = start { quic = "", tls = "127.0.0.1:0" }
  local port = math.tointeger(tonumber(broker.addresses.tls:match(":(%d+)$")))
  local c = client(broker, { url = "mqtt-quic://127.0.0.1:9", fallback = true, fallback_port = port, fallback_delay_ns = 50000000,
    resume_after_ns = 0 })
  assert(c:connect())
  assert(c.seen.CONNECTED.transport == "tls" and c.seen.TRANSPORT.transport == "tls" and c.seen.TRANSPORT.text)
  assert(c:stats().fallbacks == 1)
  finish(c, broker, loop)
end

function tests.streams_of_ones_own_and_their_weight()
  local broker, loop = start {}
  local c = client(broker, { client_id = "l" })
  assert(c:connect())
  assert(c:subscribe("a/#", { qos = 1, lane = 3 }) == 1)
  assert(c:lane_weight(3, 256))
  for number = 1, 20 do
    assert(c:publish("a/x", tostring(number), { qos = 1, lane = 3 }))
  end
  assert(c:publish("a/y", "control", { qos = 1, lane = roamqtt.LANE_CONTROL }))
  local next_one = 1
  while next_one <= 20 do
    local message = assert(c:next(5))
    if message.topic == "a/x" then
      assert(message.payload == tostring(next_one))
      next_one = next_one + 1
    end
  end
  assert(c:stats().lanes == 1 and broker:clients()[1].lanes == 1 and broker:stats().lanes_opened == 1)
  local none, _, code = c:lane_weight(3, 257)
  assert(none == nil and code == core.E_ARGUMENT)
  finish(c, broker, loop)
end

function tests.strategies_datagrams_and_flows()
  local broker, loop = start {}
  local c = client(broker, { lanes = "split", datagram_filter = "d/#", flows = true, flow_expire_s = 60, session_expiry_s = 60,
    clean_start = false, client_id = "f" })
  assert(c:connect())
  assert(c:subscribe("#", { datagram = true }))
  for _, case in ipairs { { "d/1" }, { "x", { datagram = true } }, { "y", { qos = 1 } } } do
    assert(c:publish(case[1], "p", case[2]))
    assert(assert(c:next(5)).topic == case[1])
  end
  local stats = c:stats()
  assert(stats.flows and stats.datagrams_out == 2 and stats.datagrams_in >= 2 and stats.lanes >= 1)
  finish(c, broker, loop)
end

function tests.the_broker_subscribes_for_us()
  local broker, loop = start { assigned = "all/%c", assigned_qos = 1 }
  local c = client(broker, { client_id = "x", flows = true })
  assert(c:connect())
  assert(broker:assign("x", "cmd/#"))
  assert(broker:publish("cmd/1", "p", { qos = 1 }) and broker:publish("all/x", "p", { qos = 1 }))
  local got = {}
  for _ = 1, 2 do
    got[assert(c:next(5)).topic] = true
  end
  assert(got["cmd/1"] and got["all/x"] and c:stats().server_flows == 2)
  assert(broker:withdraw("x", "cmd/#"))
  local none, _, code = broker:assign("nobody", "cmd/#")
  assert(none == nil and code == core.E_NOT_FOUND)
  finish(c, broker, loop)
end

function tests.a_second_run_connects_in_its_first_flight()
  local broker, loop = start {}
  local path = os.tmpname()
  os.remove(path)
  for run = 0, 1 do
    local c = client(broker, { client_id = "again", state_file = path })
    assert(c:connect())
    assert(c:publish("t", "x", { qos = 1, safe_to_repeat = true }))
    assert(loop:run(5, function() return c.seen.STATE end))
    local stats = c:stats()
    assert(stats.resumed == run and stats.early_accepted == run and stats.early_rejected == 0)
    assert(run == 0 or c.seen.EARLY_DATA.rc == 0)
    c:close()
  end
  local file = assert(io.open(path, "rb"))
  local kept = file:read("*a")
  file:close()
  local mode = assert(io.popen("stat -c %a " .. path)):read("*l")
  assert(mode == "600", mode)
  -- By hand, and by nobody.
  local c = client(broker, { client_id = "again", state = kept, tell_state = true, early_data = false, congestion = "bbr" })
  assert(c:connect())
  assert(c:stats().resumed == 1 and c:stats().early_accepted == 0 and #c:saved() > 0)
  c:close()
  os.remove(path)
  local none, message = core.write_private("/nonexistent/folder/state", "x")
  assert(none == nil and message:find("^ROAM_E_IO: /nonexistent/folder/state: "))
  finish(broker, loop)
end

function tests.results_of_what_was_not_waited_for()
  local broker, loop = start { quic = "" }
  local c = client(broker, { url = broker:tcp_url() })
  assert(c:connect())
  local token = assert(c:publish("nobody", "x", { qos = 1, wait = false }))
  assert(loop:run(5, function() return c.seen.PUBLISHED end))
  assert(c.seen.PUBLISHED.token == token and c.seen.PUBLISHED.reason == 0x10)
  finish(c, broker, loop)
end

dofile "tests/lua/runner.lua"(tests)
