--- MQTT over QUIC that keeps its session while the network under it changes: the Lua face.
--
-- Everything runs on a loop that the script drives. A call that waits (connect, publish with QoS 1, migrate, next) steps the
-- loop until its answer is there; inside somebody else's event loop give `wait`, a function called instead of sleeping
-- (coroutine.yield, say), watch loop:fd() and call loop:step() when it is readable or loop:timeout() has passed.
--
-- Expected failures return nil, message, code; misuse raises. Messages begin with the stable name: "ROAM_E_TIMEOUT: ...".

local core = require "roamqtt.core"

local M = { _VERSION = core.version and core.version() or "0.1.0" }

--- Packets and bytes, without a session. decode(bytes, version = 5, from_server = false, maximum) gives packet, used; nil, "more"
-- when bytes are missing; nil, message, code, reason when it is bad. encode(packet) gives bytes, or nil, message, code.
-- properties(text) and encode_properties(list) are the two ways of a message's properties: { {"CONTENT_TYPE", "text"}, ... }.
M.mqtt = {
  decode = core.packet_decode, encode = core.packet_encode, properties = core.props_decode,
  encode_properties = core.props_encode,
}

local function check_options(what, given, known)
  if type(given) ~= "table" then
    error(("roamqtt.%s: expected a table of options, got %s"):format(what, type(given)), 3)
  end
  for name, value in pairs(given) do
    local expected = known[name]
    if not expected then
      error(("roamqtt.%s: unknown option '%s'"):format(what, tostring(name)), 3)
    end
    if type(value) ~= expected then
      error(("roamqtt.%s: option '%s': expected %s, got %s"):format(what, name, expected, type(value)), 3)
    end
  end
end

local function ns(seconds)
  return math.floor(seconds * 1000000000)
end

local function with_port(address)
  if address:find("^%[") or select(2, address:gsub(":", "")) == 1 then
    return address
  end
  return address:find(":") and ("[" .. address .. "]:0") or (address .. ":0")
end

local function failure(name, text)
  return nil, name .. ": " .. text, core["E_" .. name:sub(8)]
end

-- ---- loop ----------------------------------------------------------------------------------------------------------------

local Loop = {}
Loop.__index = Loop

--- A loop. options: wait, a function(seconds) called instead of sleeping.
function M.loop(options)
  options = options or {}
  check_options("loop", options, { wait = "function" })
  local handle = core.loop_new(core.loop_options())
  if not handle then
    error("roamqtt.loop: the loop could not be made (out of descriptors?)", 2)
  end
  return setmetatable({ handle = handle, wait_fn = options.wait, members = {} }, Loop)
end

--- The one descriptor to poll for reading.
function Loop:fd()
  return core.loop_fd(self.handle)
end

--- Seconds a host may sleep before it must step.
function Loop:timeout()
  local t = core.loop_timeout(self.handle)
  return t < 0 and math.huge or t / 1e9
end

--- The core's clock, in ns.
function Loop:now()
  return core.loop_now(self.handle)
end

--- One turn; waits at most `seconds` (0) for something to happen.
function Loop:step(seconds)
  core.loop_step(self.handle, ns(seconds or 0))
  for member in pairs(self.members) do
    member:_collect()
  end
end

--- Steps until done() is true or `seconds` have passed; returns whether it is.
function Loop:run(seconds, done)
  local finish = seconds and (self:now() + ns(seconds))
  while true do
    if done and done() then
      return true
    end
    local left = finish and (finish - self:now()) / 1e9 or 1
    if left <= 0 then
      return false
    end
    if self.wait_fn then
      self:step(0)
      if not (done and done()) then
        self.wait_fn(math.min(left, self:timeout()))
      end
    else
      self:step(math.min(left, 1))
    end
  end
end

--- Closes all sockets of the loop and everything on it.
function Loop:close()
  if self.handle then
    for member in pairs(self.members) do
      member:_free()
    end
    core.loop_free(self.handle)
    self.handle = nil
  end
end
Loop.__close = Loop.close

-- Never blocks: __gc only closes sockets; what was queued is lost, as with any object dropped without close().
Loop.__gc = Loop.close

-- ---- what client, broker and NAT share -----------------------------------------------------------------------------------

local function join(self, loop, add, remove, free)
  self.loop, self._remove, self._release = loop, remove, free
  self.queue, self.first, self.last = {}, 1, 0
  local ok, message, code = add(loop.handle, self.handle)
  if not ok then
    free(self.handle)
    return nil, message, code
  end
  loop.members[self] = true
  return self
end

local function leave(self)
  if self.handle then
    local handle = self.handle
    self.handle = nil
    self.loop.members[self] = nil
    self._remove(self.loop.handle, handle)
    self._release(handle)
  end
end

local function push(self, item)
  self.last = self.last + 1
  self.queue[self.last] = item
end

local function pop(self)
  if self.first <= self.last then
    local item = self.queue[self.first]
    self.queue[self.first] = nil
    self.first = self.first + 1
    return item
  end
end

-- ---- client --------------------------------------------------------------------------------------------------------------

local Client = {}
Client.__index = Client
Client.__close = function(self)
  self:close()
end
Client._free = leave

local CLIENT = {
  loop = "table", url = "string", client_id = "string", username = "string", password = "string", version = "number",
  clean_start = "boolean", session_expiry = "number", keep_alive = "number", ca = "string", certificate = "string",
  key = "string", insecure = "boolean", server_name = "string", local_address = "string", interface = "string",
  reconnect = "boolean", reconnect_min = "number", reconnect_max = "number", connect_timeout = "number",
  idle_timeout = "number", ping_interval = "number", offline_queue = "boolean",
  will_topic = "string", will_payload = "string", will_qos = "number", will_retain = "boolean", will_delay = "number",
  will_properties = "table", connect_properties = "table", ack = "string", receive_maximum = "number",
  send_window_max = "number", topic_alias_maximum = "number", maximum_packet_size = "number", queue_messages_max = "number",
  queue_bytes_max = "number", subscriptions_max = "number", payload_format_check = "boolean",
  request_response_information = "boolean", lanes = "string", lanes_max = "number", flows = "boolean",
  datagram_filter = "string", server_flows_max = "number", auth_method = "string",
}
local LANES = { one = 0, ["per-topic"] = 1, ["per-qos"] = 2, split = 3, ["per-message"] = 4 }
local CLIENT_TEXT = {
  url = "url", client_id = "client_id", username = "user_name", password = "password", server_name = "server_name",
  interface = "interface", local_address = "c_local", version = "version", clean_start = "clean_start",
  session_expiry = "session_expiry_s", keep_alive = "keep_alive_s", reconnect = "reconnect", offline_queue = "offline_queue",
  will_topic = "will_topic", will_payload = "will_payload", will_qos = "will_qos", will_retain = "will_retain",
  will_delay = "will_delay_s", auth_method = "auth_method",
}
for _, name in ipairs {
  "receive_maximum", "send_window_max", "topic_alias_maximum", "maximum_packet_size", "queue_messages_max", "queue_bytes_max",
  "subscriptions_max", "payload_format_check", "request_response_information",
  "lanes_max", "flows", "datagram_filter", "server_flows_max",
} do
  CLIENT_TEXT[name] = name
end
local CLIENT_NS = {
  reconnect_min = "reconnect_min_ns", reconnect_max = "reconnect_max_ns", connect_timeout = "connect_timeout_ns",
  idle_timeout = "idle_timeout_ns", ping_interval = "ping_ns",
}

--- A client. Required: loop, url ("mqtt-quic://host:14567" or "mqtt://host:1883"). ca, certificate, key are PEM text; times are
-- seconds. Certificates are verified unless insecure = true. Messages wait in the client until next() takes them.
function M.client(options)
  check_options("client", options, CLIENT)
  if not options.loop then
    error("roamqtt.client: option 'loop': required; make one with roamqtt.loop()", 2)
  end
  local o = core.client_options()
  for name, field in pairs(CLIENT_TEXT) do
    if options[name] ~= nil then
      o[field] = options[name]
    end
  end
  for name, field in pairs(CLIENT_NS) do
    if options[name] then
      o[field] = ns(options[name])
    end
  end
  if options.ack and options.ack ~= "auto" and options.ack ~= "manual" then
    return failure("ROAM_E_OPTION", ("ack: expected 'auto' or 'manual', got '%s'"):format(options.ack))
  end
  o.manual_ack = options.ack == "manual"
  if options.lanes and not LANES[options.lanes] then
    return failure("ROAM_E_OPTION", ("lanes: one, per-topic, per-qos, split or per-message, not '%s'"):format(options.lanes))
  end
  o.lanes = LANES[options.lanes or "one"]
  local will_props = core.props_encode(options.will_properties or {})
  local connect_props = core.props_encode(options.connect_properties or {})
  o.will_props, o.connect_props = will_props, connect_props
  o.tls.ca = options.ca or ""
  o.tls.certificate = options.certificate or ""
  o.tls.key = options.key or ""
  o.tls.insecure = options.insecure or false
  o.tls.wall_unix_s = core.wall_unix_s()
  local wrong = core.client_option_error(o)
  if wrong then
    return failure("ROAM_E_OPTION", wrong)
  end
  local self = setmetatable({ answers = {}, events = {}, connected = false }, Client)
  self.handle = core.make_client(o)
  if not self.handle then
    return failure("ROAM_E_OPTION", "the client could not be made: is the ca, certificate or key readable PEM?")
  end
  return join(self, options.loop, core.loop_add_client, core.loop_remove_client, core.client_free)
end

function Client:_collect()
  repeat
    local events = self.handle and core.client_poll(self.handle) or {}
    for _, ev in ipairs(events) do
      self:_take(ev)
    end
  until #events == 0
end

function Client:_take(ev)
  local kind = ev.kind
  if kind == "MESSAGE" then
    push(self, ev)
  elseif kind == "PUBLISHED" or kind == "SUBSCRIBED" or kind == "UNSUBSCRIBED" then
    if self.answers[ev.token] ~= nil then
      self.answers[ev.token] = ev
    end
  else
    if kind == "CONNECTED" then
      self.connected = true
    elseif kind == "DISCONNECTED" or kind == "CLOSED" then
      self.connected = false
      self.trouble = ev
      self.closed = kind == "CLOSED"
    elseif kind == "PATH_MIGRATED" or kind == "PATH_FAILED" then
      self.path = ev
    end
    if self.on_event then
      self.on_event(ev)
    end
  end
end

local function lost(self)
  local ev = self.trouble
  if ev and ev.rc < 0 then
    return nil, core.error_name(ev.rc) .. ": " .. (ev.text or core.strerror(ev.rc)), ev.rc
  end
  return failure("ROAM_E_CLOSED", "the client is closed")
end

--- Connects and waits for CONNACK. timeout in seconds (10).
function Client:connect(timeout)
  local ok, message, code = core.client_start(self.handle, self.loop:now())
  if not ok then
    return nil, message, code
  end
  self.loop:run(timeout or 10, function()
    return self.connected or self.trouble
  end)
  if self.connected then
    return true
  end
  if self.trouble then
    return lost(self)
  end
  return failure("ROAM_E_TIMEOUT", "no answer from the server")
end

-- Waits for the answer to a token.
local function answer(self, token, timeout)
  self.answers[token] = false
  self.loop:run(timeout or 10, function()
    return self.answers[token] or self.closed
  end)
  local ev = self.answers[token]
  self.answers[token] = nil
  if ev then
    return ev
  end
  if self.closed then
    return lost(self)
  end
  return failure("ROAM_E_TIMEOUT", "no acknowledgement")
end

local function refused(reason)
  local none, message, code = failure("ROAM_E_REFUSED", ("%s (0x%02x)"):format(core.reason_text(reason), reason))
  return none, message, code, reason
end

--- Publishes. options: qos (0), retain, properties (a list as roamqtt.mqtt.encode_properties takes it), timeout (10), wait (true:
-- QoS 1 and 2 return when the server has it). Returns the reason code, or the token when wait is false; nil, message, code,
-- reason when the server refused it.
function Client:publish(topic, payload, options)
  options = options or {}
  local qos = options.qos or 0
  local token, message, code = core.publish(self.handle, self.loop:now(), topic, payload, qos, options.retain or false,
    options.properties and core.props_encode(options.properties) or "", options.safe_to_repeat or false)
  if not token then
    return nil, message, code
  end
  if qos == 0 or options.wait == false then
    return qos == 0 and 0 or token
  end
  local ev
  ev, message, code = answer(self, token, options.timeout)
  if not ev then
    return nil, message, code
  end
  if ev.reason >= 0x80 then
    return refused(ev.reason)
  end
  return ev.reason
end

local function filter_call(self, filter, options, undo)
  local token, message, code = core.subscribe(self.handle, self.loop:now(), filter, options.qos or 0, undo,
    options.no_local or false, options.retain_as_published or false, options.retain_handling or 0,
    options.subscription_identifier or 0)
  if not token then
    return nil, message, code
  end
  local ev
  ev, message, code = answer(self, token, options.timeout)
  if not ev then
    return nil, message, code
  end
  local granted = ev.codes:byte(1) or 0 -- UNSUBACK of 3.1.1 has no codes
  if granted >= 0x80 then
    return refused(granted)
  end
  return granted
end

--- Subscribes. options: qos (0), no_local, retain_as_published, retain_handling (0), subscription_identifier, timeout (10).
-- Returns the granted QoS.
function Client:subscribe(filter, options)
  return filter_call(self, filter, options or {}, false)
end

--- Returns the reason code: 0, or 0x11 when there was no such subscription.
function Client:unsubscribe(filter, options)
  return filter_call(self, filter, { timeout = options and options.timeout }, true)
end

--- With ack = "manual": this message is dealt with.
function Client:ack(message)
  if message.qos == 0 then
    return true
  end
  return core.client_ack(self.handle, self.loop:now(), message.lane, message.packet_id)
end

--- What the server answered to request_response_information, or nil.
function Client:response_information()
  return core.client_response_information(self.handle)
end

--- The next message (topic, payload, qos, retain, ...), or nil, message, code after `timeout` seconds (for ever without).
function Client:next(timeout)
  local message = pop(self)
  if message then
    return message
  end
  self.loop:run(timeout, function()
    message = pop(self)
    return message or self.closed
  end)
  if message then
    return message
  end
  if self.closed then
    return lost(self)
  end
  return failure("ROAM_E_TIMEOUT", "no message")
end

--- for message in client:messages(timeout) do ... end; ends after `timeout` seconds without one, or when the client closes.
function Client:messages(timeout)
  return function()
    return (self:next(timeout))
  end
end

--- Moves to another local address ("127.0.10.203"). options: immediate, interface, timeout (10). Returns the event.
function Client:migrate(address, options)
  options = options or {}
  self.path = nil
  local ok, message, code =
    core.client_migrate(self.handle, self.loop:now(), address or "", options.interface, options.immediate or false)
  if not ok then
    return nil, message, code
  end
  self.loop:run(options.timeout or 10, function()
    return self.path or self.closed
  end)
  local ev = self.path
  if not ev then
    return failure("ROAM_E_TIMEOUT", "the migration was not answered")
  end
  if ev.kind == "PATH_FAILED" then
    return failure("ROAM_E_PATH", ev.text or "the new path does not work")
  end
  return ev
end

--- The network may have changed: something is sent at once.
function Client:hint()
  return core.client_hint(self.handle, self.loop:now())
end

--- Where the connection runs: local_address, remote_address, rtt (s), migrations, connects, ...
function Client:stats()
  local s = core.client_get_stats(self.handle)
  return {
    local_address = s.c_local, remote_address = s.remote, rtt = s.rtt_ns / 1e9, migrations = s.migrations,
    connects = s.connects, messages_in = s.messages_in, messages_out = s.messages_out, queued = s.queued,
  }
end

--- Sends what is queued, DISCONNECT, and ends. Twice is harmless.
function Client:close()
  if self.handle then
    if core.client_close(self.handle, self.loop:now(), 0) then
      self.loop:run(4, function()
        return self.closed
      end)
    end
    leave(self)
    self.closed = true
  end
end

-- ---- broker --------------------------------------------------------------------------------------------------------------

local Broker = {}
Broker.__index = Broker
Broker._free = leave
Broker.__close = function(self)
  self:close()
end

local BROKER_LIMITS = {
  connections_max = "number", handshakes_max = "number", sessions_max = "number", session_expiry_max_s = "number",
  subscriptions_max = "number", topic_levels_max = "number", retained_max = "number", retained_bytes_max = "number",
  receive_maximum = "number", topic_alias_maximum = "number", maximum_packet_size = "number", queue_messages_max = "number",
  queue_bytes_max = "number", overflow = "number", server_keep_alive = "number", maximum_qos = "number",
  retain_available = "boolean", sys_interval_s = "number", payload_format_check = "boolean", response_information = "string",
  assigned = "string", assigned_qos = "number",
}
local BROKER = {
  loop = "table", quic = "string", tcp = "string", ca = "string", certificate = "string", key = "string", names = "string",
  allow_anonymous = "boolean", store = "string", store_sync = "string", passwords = "string", acl = "string",
}
for name, kind in pairs(BROKER_LIMITS) do
  BROKER[name] = kind
end

--- A broker with QUIC and TCP listeners (quic, tcp: addresses, "127.0.0.1:0" both; "" for none). Without certificate and key it
-- makes a throw-away CA: give broker.ca to clients. Limits have the names of docs/guide/limits.md: maximum_qos = 1, ...
-- store: a file that outlives the broker; store_sync: "always", "interval", "off".
-- passwords (made by roamqtt passwd) and acl (mosquitto's syntax) are text.
function M.broker(options)
  check_options("broker", options, BROKER)
  if not options.loop then
    error("roamqtt.broker: option 'loop': required; make one with roamqtt.loop()", 2)
  end
  local ca, certificate, key = options.ca, options.certificate, options.key
  if not certificate then
    local made, message, code = core.make_identity("roamqtt", options.names or "localhost,127.0.0.1,::1", 30)
    if not made then
      return nil, message, code
    end
    ca, certificate, key = made.ca_certificate, made.certificate, made.key
  end
  local o = core.broker_options()
  o.tls.ca, o.tls.certificate, o.tls.key, o.tls.wall_unix_s = ca or "", certificate, key, core.wall_unix_s()
  o.anonymous_beyond_loopback = options.allow_anonymous or false
  o.allow_anonymous = options.allow_anonymous or false
  for _, name in ipairs({ "passwords", "acl" }) do
    if options[name] then
      o[name] = options[name]
    end
  end
  for name in pairs(BROKER_LIMITS) do
    if options[name] ~= nil then
      o[name] = options[name]
    end
  end
  local wrong = core.broker_option_error(o)
  if wrong then
    return failure("ROAM_E_OPTION", wrong)
  end
  local store
  if options.store then
    local sync = core["STORE_SYNC_" .. (options.store_sync or "always"):upper()]
    if not sync then
      return failure("ROAM_E_OPTION", "store_sync: expected always, interval or off")
    end
    store = core.make_store(options.store, sync)
    if not store then
      return failure("ROAM_E_IO", core.store_error())
    end
    o.store = store
  end
  local self = setmetatable({ ca = ca, addresses = {}, moved = {}, store = store }, Broker)
  self.handle = core.make_broker(o, options.loop:now())
  if not self.handle then
    core.store_free(store)
    return failure("ROAM_E_CERTIFICATE", "the certificate or key is not readable PEM")
  end
  local joined, message, code = join(self, options.loop, core.loop_add_broker, core.loop_remove_broker, core.broker_free)
  if not joined then
    return nil, message, code
  end
  for transport, address in pairs { quic = options.quic or "127.0.0.1:0", tcp = options.tcp or "127.0.0.1:0" } do
    if address ~= "" then
      local ok
      ok, message, code = self:_listen(transport, address)
      if not ok then
        self:close()
        return nil, message, code
      end
    end
  end
  return self
end

function Broker:_listen(transport, address)
  local kind = transport == "quic" and core.TRANSPORT_QUIC or core.TRANSPORT_TCP
  local number, message, code = core.broker_listen(self.handle, self.loop:now(), kind, with_port(address))
  if not number then
    return nil, message, code
  end
  self.loop:run(5, function()
    return self.addresses[transport] or self.failed
  end)
  if not self.addresses[transport] then
    return failure("ROAM_E_ADDRESS_IN_USE", self.failed or ("cannot listen on " .. address))
  end
  return true
end

function Broker:_collect()
  repeat
    local events = self.handle and core.broker_poll(self.handle) or {}
    for _, ev in ipairs(events) do
      if ev.kind == "LISTENING" then
        self.addresses[ev.transport] = ev.local_address
      elseif ev.kind == "LISTEN_FAILED" then
        self.failed = ev.text or core.strerror(ev.rc)
      elseif ev.kind == "PEER_MOVED" then
        push(self, ev)
      end
      if self.on_event then
        self.on_event(ev)
      end
    end
  until #events == 0
end

--- "mqtt-quic://127.0.0.1:14567" and "mqtt://127.0.0.1:1883": where clients connect.
function Broker:url()
  return "mqtt-quic://" .. self.addresses.quic
end
function Broker:tcp_url()
  return "mqtt://" .. self.addresses.tcp
end

--- Who is there: client_id, connected, transport, address (the current one), connect_address, moves, connects, ...
function Broker:clients()
  return core.broker_clients(self.handle)
end

--- DISCONNECT to all, then ends.
function Broker:close()
  if self.handle then
    core.broker_stop(self.handle, self.loop:now())
    self.loop:run(3, function()
      local stats = core.broker_get_stats(self.handle)
      return stats.connections == 0 and stats.store_pending_bytes == 0
    end)
    leave(self)
    core.store_free(self.store)
    self.store = nil
  end
end

-- ---- NAT -----------------------------------------------------------------------------------------------------------------

local Nat = {}
Nat.__index = Nat
Nat._free = leave
Nat.__close = function(self)
  self:close()
end

--- A NAT in user space. Required: loop, server ("127.0.0.1:14567"), address (the public one, "127.0.10.200"). Clients connect to
-- nat:inside(). delay and jitter in seconds, loss as a fraction, rate in bytes per second.
function M.nat(options)
  check_options("nat", options, {
    loop = "table", server = "string", address = "string", inside = "string", delay = "number", jitter = "number",
    loss = "number", rate = "number",
  })
  if not options.loop then
    error("roamqtt.nat: option 'loop': required; make one with roamqtt.loop()", 2)
  end
  local o = core.relay_options()
  o.server, o.address, o.inside = options.server or "", options.address or "", with_port(options.inside or "127.0.0.1")
  o.delay_ns, o.jitter_ns = ns(options.delay or 0), ns(options.jitter or 0)
  o.loss_ppm, o.rate_bytes_s = math.floor((options.loss or 0) * 1000000), options.rate or 0
  local self = setmetatable({}, Nat)
  self.handle = core.make_relay(o)
  if not self.handle then
    return failure("ROAM_E_OPTION", "server and address are required, as 127.0.0.1:14567 and 127.0.10.200")
  end
  local joined, message, code = join(self, options.loop, core.loop_add_relay, core.loop_remove_relay, core.relay_free)
  if not joined then
    return nil, message, code
  end
  local bound = options.loop:run(5, function()
    return self:inside():find(":%d+$") and not self:inside():find(":0$")
  end)
  if not bound then
    self:close()
    return failure("ROAM_E_ADDRESS_IN_USE", "the NAT could not be bound")
  end
  return self
end

function Nat:_collect()
  local events = self.handle and core.relay_poll(self.handle) or {}
  for _, ev in ipairs(events) do
    if self.on_event then
      self.on_event(ev)
    end
  end
end

--- Where clients connect: "127.0.0.1:40123".
function Nat:inside()
  return core.relay_inside(self.handle)
end

--- Forgets all mappings and takes another public address.
function Nat:rebind(address)
  return core.relay_rebind(self.handle, self.loop:now(), address)
end

function Nat:set_delay(seconds, jitter)
  core.relay_set_delay(self.handle, ns(seconds), ns(jitter or 0))
end
function Nat:set_loss(fraction)
  core.relay_set_loss(self.handle, math.floor(fraction * 1000000))
end
function Nat:set_down(down)
  core.relay_set_down(self.handle, down)
end

function Nat:close()
  leave(self)
end

return M
