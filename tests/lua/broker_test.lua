-- The embedded broker's outside from Lua: listeners, certificates, access, verdicts, sending away, snapshots.
local roamqtt = require "roamqtt"
local core = require "roamqtt.core"

local tests = {}
local PASSWORDS = "user:SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=\n"

-- options -> a broker with a loop of its own; events of it by kind in broker.seen.
local function start(options)
  options.loop = roamqtt.loop()
  local broker = assert(roamqtt.broker(options))
  broker.seen = {}
  broker.on_event = function(ev)
    broker.seen[ev.kind] = ev
  end
  return broker, options.loop
end

local function client(broker, options)
  options.loop, options.ca = options.loop or broker.loop, options.ca or broker.ca
  options.reconnect = options.reconnect or false
  local c = assert(roamqtt.client(options))
  c.seen = {}
  c.on_event = function(ev)
    c.seen[ev.kind] = ev
  end
  return c
end

local function finish(...)
  for _, thing in ipairs { ... } do
    thing:close()
  end
end

function tests.listeners_of_each_kind()
  local path = os.tmpname()
  os.remove(path)
  local broker, loop = start { tcp = { "127.0.0.1:0", "[::1]:0" }, tls = "127.0.0.1", ws = "127.0.0.1:0", wss = "127.0.0.1:0", unix = path }
  assert(#broker.listeners == 7 and broker.listeners[7].name == path)
  for i, url in ipairs { broker:url(), broker:tcp_url(), broker:tls_url(), broker:ws_url(), broker:wss_url(),
    "mqtt://" .. broker.listeners[3].local_address } do
    local c = client(broker, { url = url, client_id = "c" .. i })
    assert(c:connect())
    assert(c:publish("t", "x", { qos = 1 }))
    c:close()
  end
  local by_transport = {}
  for _, each in ipairs(broker:clients()) do
    by_transport[each.transport] = (by_transport[each.transport] or 0) + 1
  end
  assert(by_transport.quic == 1 and by_transport.tcp == 2 and by_transport.tls == 1 and by_transport.ws == 1 and by_transport.wss == 1)
  local none, message, code = broker:listen("tcp", broker.addresses.tcp)
  assert(none == nil and code == core.E_ADDRESS_IN_USE, message)
  none, message, code = broker:listen("tcp", "0.0.0.0")
  assert(none == nil and code == core.E_PERMISSION, message)
  none, message, code = broker:listen_name("quic", "/nowhere")
  assert(none == nil and code == core.E_UNSUPPORTED, message)
  assert(not pcall(broker.listen, broker, "sctp", "127.0.0.1"))
  finish(broker, loop)
  os.remove(path)
end

function tests.certificates_change_while_it_runs()
  local first, second = assert(roamqtt.identity_make("first")), assert(roamqtt.identity_make("second"))
  local broker, loop = start { ca = first.ca_certificate, certificate = first.certificate, key = first.key }
  assert(broker:set_certificate(second.certificate, second.key, second.ca_certificate))
  local c = client(broker, { url = broker:url(), ca = second.ca_certificate })
  assert(c:connect())
  local old = client(broker, { url = broker:url(), ca = first.ca_certificate })
  local none, _, code = old:connect()
  assert(none == nil and code == core.E_CERTIFICATE)
  local message
  none, message, code = broker:set_certificate("not PEM", second.key)
  assert(none == nil and code == core.E_CERTIFICATE and #message > 0)
  finish(c, old, broker, loop)
end

function tests.client_certificates_are_names()
  local made = assert(roamqtt.identity_make("broker"))
  local ours = assert(roamqtt.identity_issue(made.ca_certificate, made.ca_key, "sensor-7", nil, { client = true }))
  local broker, loop = start { tls = "127.0.0.1:0", ca = made.ca_certificate, certificate = made.certificate, key = made.key,
    require_client_certificate = true, subject_as_user_name = true }
  local c = client(broker, { url = broker:tls_url(), certificate = ours.certificate, key = ours.key, client_id = "s" })
  assert(c:connect())
  assert(broker:clients()[1].user_name == "sensor-7")
  finish(c, broker, loop)
end

function tests.access_is_replaced()
  local broker, loop = start { quic = "", passwords = PASSWORDS, acl = "user user\ntopic readwrite a/#\n" }
  local c = client(broker, { url = broker:tcp_url(), user_name = "user", password = "pencil" })
  assert(c:connect())
  assert(c:publish("a/x", "x", { qos = 1 }))
  local none, message, code, reason = broker:set_acl("topic a/#\nallow b\n")
  assert(none == nil and message:find("line 2", 1, true) and code == core.E_OPTION)
  assert(broker:set_acl("user user\ntopic readwrite b/#\n"))
  none, message, code, reason = c:publish("a/x", "x", { qos = 1 })
  assert(none == nil and reason == 0x87, message)
  none, message = broker:set_passwords("user:pencil\n")
  assert(none == nil and message:find("line 1", 1, true))
  assert(broker:set_passwords((PASSWORDS:gsub("^user:", "other:"))))
  assert(loop:run(5, function() return c.closed or not c.connected end))
  finish(c, broker, loop)
end

function tests.limits_change_while_it_runs()
  local broker, loop = start { quic = "" }
  assert(broker:reconfigure { session_expiry_max_s = 7, overflow = "drop_oldest", server_keep_alive = 9 })
  local c = client(broker, { url = broker:tcp_url(), client_id = "c", keep_alive_s = 100 })
  assert(c:connect())
  assert(broker:clients()[1].keep_alive_s == 9)
  local none, message, code = broker:reconfigure { receive_maximum = 0, queue_messages_max = 5 }
  assert(none == nil and code == core.E_OPTION and message:find("receive_maximum", 1, true), message)
  assert(broker.o.receive_maximum == 1024 and broker.o.queue_messages_max == 10000)
  local ok
  ok, message = pcall(broker.reconfigure, broker, { maximum_qos = 1 })
  assert(not ok and message:find("unknown option 'maximum_qos'", 1, true), message)
  finish(c, broker, loop)
end

function tests.who_may_come_in_is_decided_later()
  local broker, loop = start { quic = "", decide = true }
  local c = client(broker, { url = broker:tcp_url(), client_id = "a", user_name = "anna", password = "secret" })
  assert(core.client_start(c.handle, loop:now()))
  assert(loop:run(5, function() return broker.seen.AUTH end))
  local asked = broker.seen.AUTH
  assert(asked.id == "a" and asked.user_name == "anna" and asked.password == "secret" and asked.method == nil and asked.round == 0)
  local none, _, code = broker:admit(asked.peer, { reason = 0x10 })
  assert(none == nil and code == core.E_ARGUMENT)
  assert(not loop:run(0.1, function() return c.connected end))
  assert(broker:admit(asked.peer, { user_name = "Anna" }))
  assert(loop:run(5, function() return c.connected end))
  assert(broker:clients()[1].user_name == "Anna")
  none, _, code = broker:admit(asked.peer)
  assert(none == nil and code == core.E_NOT_FOUND)
  finish(c, broker, loop)
end

function tests.a_function_decides()
  local later
  local broker, loop = start { quic = "", decide = function(ev)
    if ev.id == "odd" then
      error("the database is away")
    elseif ev.id == "banned" then
      return { reason = 0x8A, text = "you know " .. "why" }
    elseif ev.id == "later" then
      later = ev
      return nil
    end
    return ev.user_name == "anna" and ev.password == "secret"
  end }
  for id, expected in pairs { odd = 0x80, banned = 0x8A, other = 0x87 } do
    local c = client(broker, { url = broker:tcp_url(), client_id = id })
    local none, message, code = c:connect()
    assert(none == nil and code == core.E_REFUSED and c.trouble.reason == expected, message)
    assert(id ~= "banned" or message:find("you know why", 1, true), message)
    assert(id ~= "odd" or broker.seen.AUTH.decide_error:find("the database is away", 1, true))
    c:close()
  end
  local c = client(broker, { url = broker:tcp_url(), client_id = "x", user_name = "anna", password = "secret" })
  assert(c:connect())
  local d = client(broker, { url = broker:tcp_url(), client_id = "later" })
  assert(core.client_start(d.handle, loop:now()))
  assert(loop:run(5, function() return later end))
  assert(broker:admit(later.peer))
  assert(loop:run(5, function() return d.connected end))
  finish(c, d, broker, loop)
end

function tests.a_method_of_ones_own()
  local broker, loop = start { decide = function(ev)
    assert(ev.method == "riddle")
    if ev.round == 0 then
      return { reason = 0x18, data = "what walks?" }
    end
    return ev.data == "man" and { data = "welcome" } or false
  end }
  local said = {}
  local c = client(broker, { url = broker:url(), auth_method = "riddle", auth_data = "ready" })
  c.on_event = function(ev)
    if ev.kind == "AUTH" then
      said[#said + 1] = ev.data
      if ev.reason == 0x18 then
        assert(c:auth("man"))
      end
    end
  end
  assert(c:connect())
  assert(c:reauthenticate("again"))
  assert(loop:run(5, function() return #said == 4 end))
  assert(said[1] == "what walks?" and said[2] == "welcome" and said[4] == "welcome")
  finish(c, broker, loop)
end

function tests.sent_to_another_server()
  local old, loop = start {}
  local new = assert(roamqtt.broker { loop = loop, ca = old.ca, certificate = old.certificate, key = old.key })
  local c = client(old, { url = old:url(), reconnect = true, reconnect_min_ns = 10000000, client_id = "c" })
  assert(c:connect())
  assert(old:send_away(new.addresses.quic, { spread_ns = 1000000 }) == 1)
  assert(loop:run(10, function() return c.seen.REDIRECTED and #new:clients() == 1 and c.connected end))
  assert(c.seen.REDIRECTED.reason == 0x9C and c:stats().redirects == 1 and old:stats().drained == 1 and old.seen.DRAINED.token == 1)
  local none, _, code = new:send_away("")
  assert(none == nil and code == core.E_ARGUMENT)
  finish(c, old, new, loop)
end

function tests.a_snapshot_shows_everything()
  local broker, loop = start {}
  local c = client(broker, { url = broker:url(), client_id = "mover", local_address = "127.0.10.200" })
  assert(c:connect())
  assert(c:subscribe("t", { qos = 1 }))
  assert(c:migrate("127.0.10.203"))
  assert(broker:publish("t", "from within", { qos = 1 }))
  assert(assert(c:next(5)).payload == "from within")
  local shown = broker:snapshot()
  local it = shown.clients[1]
  assert(shown.stats.connections == 1 and #shown.listeners == 2 and it.moves == 1 and it.subscriptions == 1 and it.messages_out == 1)
  assert(#it.history == 2 and it.history[1].by_connect and not it.history[2].by_connect)
  assert(it.history[1].address:find("127.0.10.200:", 1, true) and it.ip_address:find("127.0.10.203:", 1, true))
  assert(broker:kick("mover"))
  local none, _, code = broker:kick("nobody")
  assert(none == nil and code == core.E_NOT_FOUND)
  finish(c, broker, loop)
end

function tests.lines_as_json()
  local log = assert(io.tmpfile())
  local broker, loop = start { log = log, log_level = "info", log_format = "json" }
  local c = client(broker, { url = broker:url(), client_id = "some\"body" })
  assert(c:connect())
  finish(c, broker, loop)
  log:seek("set")
  local text = log:read("*a")
  assert(text:find('"name":"CLIENT_CONNECTED","client":"some\\"body","address":"127.0.0.1:', 1, true), text)
  for line in text:gmatch("[^\n]+") do
    assert(line:find('^{"at":%d+%.%d+,"event":"log","level":"%l+","text":".*","name":"[%u_]+",.*}$'), line)
  end
end

function tests.lines_go_to_files()
  local log, keys = assert(io.tmpfile()), assert(io.tmpfile())
  local folder = os.tmpname()
  os.remove(folder)
  local broker, loop = start { log = log, log_level = "debug", keylog = keys, qlog = folder }
  local c = client(broker, { url = broker:url(), client_id = "somebody" })
  assert(c:connect())
  finish(c, broker, loop)
  log:seek("set")
  keys:seek("set")
  assert(log:read("*a"):find("somebody", 1, true) and keys:read("*a"):find("SERVER_TRAFFIC_SECRET_0", 1, true))
  local qlogs = assert(io.popen("cat " .. folder .. "/*.sqlog")):read("*a")
  assert(qlogs:find("vantage_point", 1, true))
  os.execute("rm -r " .. folder)
  local none, message = roamqtt.broker { loop = roamqtt.loop(), qlog = "/dev/null/x" }
  assert(none == nil and message:find("^ROAM_E_IO: "))
end

dofile "tests/lua/runner.lua"(tests)
