--- MQTT over QUIC that keeps its session while the network under it changes: the Lua face.
--
-- Everything runs on a loop that the script drives. A call that waits (connect, publish with QoS 1, migrate, next) steps the
-- loop until its answer is there; inside somebody else's event loop give `wait`, a function called instead of sleeping
-- (coroutine.yield, say), watch loop:fd() and call loop:step() when it is readable or loop:timeout() has passed.
--
-- Expected failures return nil, message, code; misuse raises. Messages begin with the stable name: "ROAM_E_TIMEOUT: ...".
--
-- Options, events and figures have exactly the names they have in C (roamqtt/client.h, broker.h, event.h), with their units: _ns is
-- nanoseconds, _s seconds. One exception: `local` is a word of Lua's, so the local address is local_address.

local core = require "roamqtt.core"

local M = { _VERSION = core.version and core.version() or "0.1.0" }

--- The control stream by name, for the option lane of publish and subscribe.
M.LANE_CONTROL = core.LANE_CONTROL

--- Packets and bytes, without a session. decode(bytes, version = 5, from_server = false, maximum) gives packet, used; nil, "more"
-- when bytes are missing; nil, message, code, reason when it is bad. encode(packet) gives bytes, or nil, message, code.
-- properties(text) and encode_properties(list) are the two ways of a message's properties: { {"CONTENT_TYPE", "text"}, ... }.
M.mqtt = {
  decode = core.packet_decode, encode = core.packet_encode, properties = core.props_decode,
  encode_properties = core.props_encode,
}

local function members_of(text, kind, into)
  for name in text:gmatch("%S+") do
    into[name] = kind
  end
  return into
end

local core_tls = members_of("ca certificate key more insecure require_client_certificate request_client_certificate", true, {})

-- Sets what the script gave in a struct of options. known: name -> type, or a table of the words it may have. Raises on misuse; returns
-- nil, message, code for a value that cannot be.
local function fill(o, given, known, own)
  for name, value in pairs(given) do
    local expected = known[name]
    if expected and not own[name] then
      local field = name == "local_address" and "c_local" or name
      if type(expected) == "table" then
        if not expected[value] then
          local words = {}
          for word in pairs(expected) do
            words[#words + 1] = word
          end
          table.sort(words)
          return nil, ("ROAM_E_OPTION: %s: expected %s, not '%s'"):format(name, table.concat(words, " or "), tostring(value)), core.E_OPTION
        end
        o[field] = expected[value]
      else
        local where = core_tls[name] and o.tls or o
        if expected == "number" and value % 1 ~= 0 then
          return nil, ("ROAM_E_OPTION: %s: expected a whole number, got %s"):format(name, tostring(value)), core.E_OPTION
        end
        where[field] = value
        -- What does not fit its C type is cut there: then it reads back as something else.
        if expected == "number" and where[field] ~= value then
          return nil, ("ROAM_E_OPTION: %s: %s is out of its range"):format(name, tostring(value)), core.E_OPTION
        end
      end
    end
  end
  return true
end

local function check_options(what, given, known)
  if type(given) ~= "table" then
    error(("roamqtt.%s: expected a table of options, got %s"):format(what, type(given)), 3)
  end
  for name, value in pairs(given) do
    local expected = known[name]
    if not expected then
      error(("roamqtt.%s: unknown option '%s'"):format(what, tostring(name)), 3)
    end
    expected = type(expected) == "table" and "string" or expected
    if type(value) ~= expected and not (expected:find("|", 1, true) and expected:find(type(value), 1, true)) then
      error(("roamqtt.%s: option '%s': expected %s, got %s"):format(what, name, expected:gsub("|", " or "), type(value)), 3)
    end
  end
end

local function struct(s, names)
  local found = {}
  for name in names:gmatch("%S+") do
    if name == "local" then
      found.local_address = s.c_local
    elseif name == "transport" then
      found.transport = core.transport_name(s.transport)
    else
      found[name] = s[name]
    end
  end
  return found
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
  local wrong
  for _, member in ipairs(self.members) do
    wrong = member:_collect() or wrong
  end
  if wrong then
    error(wrong, 0)
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
    for _, member in ipairs(self.members) do
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
  -- A new list each time: a callback may add and close members while the loop walks through the old one.
  loop.members = { self, (table.unpack or unpack)(loop.members) }
  return self
end

local function without(list, gone)
  local rest = {}
  for _, member in ipairs(list) do
    rest[#rest + 1] = member ~= gone and member or nil
  end
  return rest
end

-- Takes what there is. An error of a callback's must not lose the events behind its own: it is given back, for the end of the step.
local function collect(self, poll)
  local wrong
  repeat
    local events = self.handle and poll(self.handle) or {}
    for _, ev in ipairs(events) do
      local ok, message = pcall(self._take, self, ev)
      wrong = not ok and message or wrong
    end
  until #events == 0
  return wrong
end

local function leave(self)
  if self.handle then
    local handle = self.handle
    self.handle = nil
    self.loop.members = without(self.loop.members, self)
    self._remove(self.loop.handle, handle)
    self._release(handle)
    if (self.folder or -1) >= 0 then
      core.close_descriptor(self.folder) -- of qlogs
    end
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

-- What the package itself takes beside the C names.
local CLIENT_OWN = members_of("state_file log_level log_format qlog", "string", { loop = "table", user_properties = "table",
  will_properties = "table", log = "userdata|number", keylog = "userdata|number" })
local CONGESTION = { cubic = core.CONGESTION_CUBIC, reno = core.CONGESTION_RENO, bbr = core.CONGESTION_BBR }
local LEVELS = { error = core.LOG_ERROR, warning = core.LOG_WARNING, notice = core.LOG_NOTICE, info = core.LOG_INFO, debug = core.LOG_DEBUG }
local CLIENT = {
  lanes = { one = core.LANES_ONE, ["per-topic"] = core.LANES_PER_TOPIC, ["per-qos"] = core.LANES_PER_QOS,
    split = core.LANES_SPLIT, ["per-message"] = core.LANES_PER_MESSAGE },
  congestion = CONGESTION,
}
members_of([[url client_id user_name password will_topic will_payload ca certificate key server_name local_address interface interfaces
  datagram_filter connect_props will_props auth_method auth_data fallback_url state]], "string", CLIENT)
members_of([[version session_expiry_s keep_alive_s will_qos will_delay_s reconnect_min_ns reconnect_max_ns connect_timeout_ns
  idle_timeout_ns ping_ns receive_maximum send_window_max maximum_packet_size queue_messages_max queue_bytes_max subscriptions_max
  roam_settle_ns ping_min_ns ping_max_ns lanes_max topic_alias_maximum fallback_port fallback_delay_ns resume_after_ns redirects_max
  flow_expire_s server_flows_max initial_rtt_ns key_update_bytes datagram_bytes_max]], "number", CLIENT)
members_of([[clean_start will_retain insecure reconnect offline_queue manual_ack roam one_lane_per_packet datagrams
  payload_format_check request_response_information fallback flows bare_control tell_state early_data follow_preferred]], "boolean", CLIENT)
for name, kind in pairs(CLIENT_OWN) do
  CLIENT[name] = kind
end
local CLIENT_STATS = [[local remote transport rtt_ns cwnd_bytes bytes_in bytes_out messages_in messages_out dropped connects migrations
  migrations_failed inflight queued probes probes_failed immediates immediates_failed moves_by_policy rebinds troubles hints ping_ns lanes
  flows datagrams_in datagrams_out redirects fallbacks climbs early_accepted early_rejected resumed key_updates min_rtt_ns udp_in udp_out
  handshake_bytes_in handshake_bytes_out stream_bytes_out packets_lost server_flows]]

-- A descriptor's number, or an open file of Lua's own: its descriptor is found by the core.
local function sink(value)
  if value == nil then
    return -1
  end
  return type(value) == "number" and value or core.file_descriptor(value)
end

local function put_sinks(set, o, options)
  local level = LEVELS[options.log_level or "notice"]
  if not level then
    return nil, "ROAM_E_OPTION: log_level: expected error, warning, notice, info or debug", core.E_OPTION
  end
  local format = options.log_format or "text"
  if format ~= "text" and format ~= "json" then
    return nil, "ROAM_E_OPTION: log_format: expected text or json", core.E_OPTION
  end
  local folder, message, code = -1, nil, nil
  if options.qlog then
    folder, message, code = core.folder_descriptor(options.qlog)
    if not folder then
      return nil, message, code
    end
  end
  set(o, sink(options.log), level, format == "json", sink(options.keylog), folder)
  return true, folder
end

local function read_file(path)
  local file = io.open(path, "rb")
  local text = file and file:read("*a")
  if file then
    file:close()
  end
  return text
end

--- A client. Required: loop, url ("mqtt-quic://host:14567", "mqtts://", "mqtt://", "wss://", "ws://"). All other options have the names
-- of roam_client_options, where what each means, its unit and its default stand; ca, certificate and key are PEM text; lanes, congestion:
-- words. Certificates are verified unless insecure = true. Messages wait in the client until next() takes them.
-- Its own: state_file, where QUIC's tickets are kept between runs (mode 0600: whoever has it can resume our connections);
-- user_properties and will_properties, lists as roamqtt.mqtt.encode_properties takes them; log and keylog, open files or numbers of
-- descriptors that stay open as long as the client lives, log_level ("notice") and log_format ("text", or "json": objects
-- with the fields of docs/guide/logs.md); qlog, a folder for a qlog of each connection.
-- Returns nil, message, code when an option cannot be (ROAM_E_OPTION names it and the remedy) or a PEM cannot be read.
function M.client(options)
  check_options("client", options, CLIENT)
  if not options.loop then
    error("roamqtt.client: option 'loop': required; make one with roamqtt.loop()", 2)
  end
  local o = core.client_options()
  local good, message, code = fill(o, options, CLIENT, CLIENT_OWN)
  if not good then
    return nil, message, code
  end
  local will_props = (options.will_props or "") .. core.props_encode(options.will_properties or {})
  local connect_props = (options.connect_props or "") .. core.props_encode(options.user_properties or {})
  o.will_props, o.connect_props = will_props, connect_props
  local state = options.state_file and read_file(options.state_file) or options.state or ""
  o.state, o.tell_state = state, options.tell_state or options.state_file ~= nil
  o.tls.wall_unix_s = core.wall_unix_s()
  local wrong = core.client_option_error(o)
  if wrong then
    return failure("ROAM_E_OPTION", wrong)
  end
  wrong = core.tls_config_error(o.tls)
  if wrong then
    return failure("ROAM_E_CERTIFICATE", wrong)
  end
  local folder
  good, folder, code = put_sinks(core.client_sinks, o, options)
  if not good then
    return nil, folder, code
  end
  local self = setmetatable({ answers = {}, events = {}, connected = false, state_file = options.state_file, folder = folder }, Client)
  self.handle = core.make_client(o)
  if not self.handle then
    return failure("ROAM_E_MEMORY", "the client could not be made")
  end
  return join(self, options.loop, core.loop_add_client, core.loop_remove_client, core.client_free)
end

-- Is this the move that was asked for? The client moves by itself, too. A port that was not given is any.
local function same_place(wanted, got)
  if not wanted or wanted == "" then
    return true -- an interface: its address is not known here
  end
  local host = got:match("^%[(.*)%]") or got:match("^([^:]*):%d+$") or got
  return wanted == got or wanted:gsub("[%[%]]", "") == host or wanted:find(host .. ":", 1, true) == 1 or wanted:find("[" .. host .. "]:", 1, true) == 1
end

function Client:_collect()
  return collect(self, core.client_poll)
end

function Client:_take(ev)
  local kind = ev.kind
  if kind == "MESSAGE" then
    push(self, ev)
  elseif kind == "PUBLISHED" or kind == "SUBSCRIBED" or kind == "UNSUBSCRIBED" then
    if self.answers[ev.token] ~= nil then
      self.answers[ev.token] = ev
    elseif kind == "PUBLISHED" and self.on_event then
      self.on_event(ev)
    end
  else
    if kind == "CONNECTED" then
      self.connected = true
    elseif kind == "DISCONNECTED" or kind == "CLOSED" then
      self.connected = false
      self.trouble = ev
      self.closed = kind == "CLOSED"
    elseif (kind == "PATH_MIGRATED" or kind == "PATH_FAILED") and same_place(self.moving_to, ev.local_address) then
      self.path = ev
    elseif kind == "STATE" and self.state_file then
      core.write_private(self.state_file, core.client_saved(self.handle))
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
-- QoS 1 and 2 return when the server has it), safe_to_repeat (may leave in QUIC's early data, which an attacker may play again
-- elsewhere), datagram (QoS 0, in a QUIC datagram if it can), lane (0: as `lanes` says; roamqtt.LANE_CONTROL; else the data stream of that
-- number, which is yours). Returns the reason code, or the token when wait is false (a PUBLISHED event tells the result); nil,
-- message, code, reason when the server refused it; ROAM_E_BLOCKED: the queue is full, try again after a WRITABLE event.
function Client:publish(topic, payload, options)
  options = options or {}
  local qos = options.qos or 0
  local token, message, code = core.publish(self.handle, self.loop:now(), topic, payload, qos, options.retain or false,
    options.properties and core.props_encode(options.properties) or "", options.safe_to_repeat or false,
    options.datagram or false, options.lane or 0)
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
    options.identifier or 0, options.datagram or false, options.lane or 0)
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

--- Subscribes. options: qos (0), no_local, retain_as_published, retain_handling (0), identifier, timeout (10), lane (deliveries come
-- on it, in its order), datagram (QoS 0 deliveries may come in datagrams). Returns the granted QoS; nil, message, code, reason when it was
-- refused.
function Client:subscribe(filter, options)
  return filter_call(self, filter, options or {}, false)
end

--- Returns the reason code: 0, or 0x11 when there was no such subscription.
function Client:unsubscribe(filter, options)
  return filter_call(self, filter, { timeout = options and options.timeout }, true)
end

--- With manual_ack: this message is dealt with.
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

--- Lanes that have something to send at once share the packets by weight, 1 to 256, 16 at first; the control stream goes before all.
-- ROAM_E_ARGUMENT: no such weight, or no lane of your own; ROAM_E_LIMIT: none is to be had.
function Client:lane_weight(lane, weight)
  return core.client_lane_weight(self.handle, self.loop:now(), lane, weight)
end

--- Moves to another local address ("127.0.10.203"). options: interface (with address nil), timeout (10), how: "probe", both networks
-- are alive, the new path is validated first and nothing is interrupted; "immediate", the old one is dead or dying.
-- Returns the PATH_MIGRATED event: local_address, remote, old_local, old_remote, validation_ns, gap_ns; or true when there was no
-- connection to move: then the next one begins there. nil, message, code: the connection stays where it was.
function Client:migrate(address, options)
  options = options or {}
  local how = options.how or "probe"
  if how ~= "probe" and how ~= "immediate" then
    error(("roamqtt.client: migrate: how: expected 'probe' or 'immediate', got '%s'"):format(tostring(how)), 2)
  end
  self.path, self.moving_to = nil, address
  local was = self.connected
  local ok, message, code =
    core.client_migrate(self.handle, self.loop:now(), address or "", options.interface, how == "immediate")
  if not ok then
    return nil, message, code
  end
  if not was then
    return true
  end
  self.loop:run(options.timeout or 10, function()
    return self.path or self.closed or not self.connected
  end)
  local ev = self.path
  if not ev then
    if not self.connected then
      return lost(self)
    end
    return failure("ROAM_E_TIMEOUT", "the migration was not answered")
  end
  if ev.kind == "PATH_FAILED" then
    return nil, core.error_name(ev.rc < 0 and ev.rc or core.E_PATH) .. ": " .. (ev.text or "the new path does not work"), ev.rc
  end
  return ev
end

--- The network may have changed: something is sent at once.
function Client:hint()
  return core.client_hint(self.handle, self.loop:now())
end

--- Answers an AUTH event with reason 0x18. ROAM_E_STATE: nothing was asked (any more).
function Client:auth(data)
  return core.client_auth(self.handle, self.loop:now(), data)
end

--- Authenticates anew while connected, as auth_method says; AUTH events follow.
function Client:reauthenticate(data)
  return core.client_reauthenticate(self.handle, self.loop:now(), data or "")
end

--- What to keep between runs, for the option state; "" when there is nothing yet. With tell_state a STATE event says when it is new.
function Client:saved()
  return core.client_saved(self.handle)
end

local STATES = {}
for _, word in ipairs { "new", "connecting", "connected", "waiting", "closing", "closed" } do
  STATES[core["CLIENT_" .. word:upper()]] = word
end

--- "new", "connecting", "connected", "waiting" (for the next attempt), "closing" or "closed".
function Client:get_state()
  return self.handle and STATES[core.client_get_state(self.handle)] or "closed"
end

--- All of roam_client_stats under its names: local_address, remote, transport, rtt_ns, migrations, early_accepted, ...
function Client:stats()
  return struct(core.client_get_stats(self.handle), CLIENT_STATS)
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

local BROKER_OWN = members_of("quic tcp tls ws wss unix", "string|table", { loop = "table", names = "string", store_sync = "string",
  store = "string", decide = "boolean|function", log = "userdata|number", keylog = "userdata|number", log_level = "string",
  log_format = "string", qlog = "string" })
local OVERFLOW = { refuse = core.OVERFLOW_REFUSE, drop_oldest = core.OVERFLOW_DROP_OLDEST, drop_newest = core.OVERFLOW_DROP_NEWEST }
local BROKER = { overflow = OVERFLOW, congestion = CONGESTION }
members_of([[ca certificate key more response_information ws_path ws_origins passwords acl secret preferred_ipv4 preferred_ipv6
  assigned]], "string", BROKER)
members_of([[connections_max handshakes_max connect_timeout_ns sessions_max session_expiry_max_s subscriptions_max topic_levels_max
  retained_max retained_bytes_max receive_maximum topic_alias_maximum maximum_packet_size queue_messages_max queue_bytes_max
  server_keep_alive idle_timeout_ns address_history_max maximum_qos sys_interval_s lanes_max datagrams_max silent_max_ns
  store_pending_bytes_max store_timeout_ns request_rate_max queued_bytes_max client_memory_max memory_max auth_waiting_max auth_failures_max connect_rate_max address_connections_max
  replay_window_ns replay_keys_max initial_rtt_ns key_update_bytes datagram_bytes_max assigned_qos]], "number", BROKER)
members_of([[require_client_certificate request_client_certificate anonymous_beyond_loopback follow_paths retry retain_available
  payload_format_check flows one_lane_per_packet allow_anonymous subject_as_user_name early_data]], "boolean", BROKER)
for name, kind in pairs(BROKER_OWN) do
  BROKER[name] = kind
end
local RECONFIGURABLE = members_of([[connect_timeout_ns session_expiry_max_s receive_maximum topic_alias_maximum queue_messages_max
  queue_bytes_max server_keep_alive]], "number", { overflow = OVERFLOW })
local TRANSPORTS = { quic = core.TRANSPORT_QUIC, tcp = core.TRANSPORT_TCP, tls = core.TRANSPORT_TLS, ws = core.TRANSPORT_WS, wss = core.TRANSPORT_WSS }

local function open_store(options)
  if not options.store then
    return true
  end
  local sync = ({ always = core.STORE_SYNC_ALWAYS, interval = core.STORE_SYNC_INTERVAL, off = core.STORE_SYNC_OFF })[options.store_sync or "always"]
  if not sync then
    return failure("ROAM_E_OPTION", "store_sync: expected always, interval or off")
  end
  local store = core.make_store(options.store, sync)
  if not store then
    return failure("ROAM_E_IO", core.store_error())
  end
  return store
end

local function each(addresses)
  return type(addresses) == "table" and addresses or { addresses ~= "" and addresses or nil }
end

-- Binds what the options ask for.
local function listen_all(self, options)
  local wanted = { { "quic", options.quic or "127.0.0.1:0" }, { "tcp", options.tcp or "127.0.0.1:0" }, { "tls", options.tls },
    { "ws", options.ws }, { "wss", options.wss } }
  for i = 1, 5 do
    for _, address in ipairs(each(wanted[i][2])) do
      local ok, message, code = self:listen(wanted[i][1], address)
      if not ok then
        return nil, message, code
      end
    end
  end
  for _, path in ipairs(each(options.unix)) do
    local ok, message, code = self:listen_name("tcp", path)
    if not ok then
      return nil, message, code
    end
  end
  return true
end

--- A broker. Options have the names of roam_broker_options, where what each means, its unit and its default stand (what happens at each
-- limit: docs/guide/limits.md); ca, certificate, key, passwords (made by roamqtt passwd) and acl (mosquitto's syntax) are text;
-- overflow, congestion: words. Its own:
--   quic, tcp, tls, ws, wss  an address to listen on, or a list of them (quic and tcp: "127.0.0.1:0"; "" for none); unix: paths
--   names                    without certificate and key it makes a throw-away CA, for these: give broker.ca to clients
--   store, store_sync        a file that outlives the broker; "always", "interval", "off"
--   decide                   who may come in, of all whom passwords do not name. true: each asks by an AUTH event, which broker:admit
--                            answers, now or later. A function of that event does it by itself: it returns true, false, a table
--                            as admit takes it, or nil (later). One that raises lets nobody in, and the error goes to on_event
--   log, keylog, log_level, log_format, qlog  as for a client
-- Returns nil, message, code when an option cannot be, the store cannot be opened, or an address cannot be bound.
function M.broker(options)
  check_options("broker", options, BROKER)
  if not options.loop then
    error("roamqtt.broker: option 'loop': required; make one with roamqtt.loop()", 2)
  end
  local o = core.broker_options()
  local good, message, code = fill(o, options, BROKER, BROKER_OWN)
  if not good then
    return nil, message, code
  end
  local ca, certificate, key = options.ca, options.certificate, options.key
  if not certificate then
    local made
    made, message, code = M.identity_make("roamqtt", options.names)
    if not made then
      return nil, message, code
    end
    ca, certificate, key = made.ca_certificate, made.certificate, made.key
  end
  o.tls.ca, o.tls.certificate, o.tls.key, o.tls.wall_unix_s = ca or "", certificate, key or "", core.wall_unix_s()
  o.decide = options.decide and true or false
  local wrong = core.broker_option_error(o)
  if wrong then
    return failure("ROAM_E_OPTION", wrong)
  end
  wrong = core.tls_config_error(o.tls)
  if wrong then
    return failure("ROAM_E_CERTIFICATE", wrong)
  end
  local store
  store, message, code = open_store(options)
  if not store then
    return nil, message, code
  end
  store = store ~= true and store or nil
  o.store = store
  local folder
  good, folder, code = put_sinks(core.broker_sinks, o, options)
  if not good then
    core.store_free(store)
    return nil, folder, code
  end
  local self = setmetatable({
    ca = ca, certificate = certificate, key = key, addresses = {}, listeners = {}, bound = {}, store = store, options = options, o = o,
    more = options.more, folder = folder, decide = type(options.decide) == "function" and options.decide, keep = { ca, certificate, key },
  }, Broker)
  for _, value in pairs(options) do -- the struct goes on pointing at these
    self.keep[#self.keep + 1] = type(value) == "string" and value or nil
  end
  self.handle = core.make_broker(o, options.loop:now())
  if not self.handle then
    core.store_free(store)
    return failure("ROAM_E_DAMAGED", "the broker could not be made: what is in the store cannot be loaded")
  end
  good, message, code = join(self, options.loop, core.loop_add_broker, core.loop_remove_broker, core.broker_free)
  if not good then
    core.store_free(store)
    return nil, message, code
  end
  good, message, code = listen_all(self, options)
  if not good then
    self:close()
    return nil, message, code
  end
  return self
end

-- Waits for LISTENING or LISTEN_FAILED.
function Broker:_bound(number, transport, name)
  self.loop:run(5, function()
    return self.bound[number]
  end)
  local ev = self.bound[number]
  self.bound[number] = nil
  if not ev then
    return failure("ROAM_E_TIMEOUT", "the listener was not answered")
  end
  if ev.kind == "LISTEN_FAILED" then
    return nil, core.error_name(ev.rc) .. ": " .. (ev.text or core.strerror(ev.rc)), ev.rc
  end
  local listener = { listener = number, transport = transport, local_address = ev.local_address, name = name }
  self.listeners[#self.listeners + 1] = listener
  if not name then
    self.addresses[transport] = self.addresses[transport] or ev.local_address
  end
  return listener
end

local function transport_number(transport)
  return TRANSPORTS[transport] or error(("roamqtt.broker: expected quic, tcp, tls, ws or wss, got '%s'"):format(tostring(transport)), 3)
end

--- One more listener: "quic", "tcp", "tls", "ws" or "wss" on an address; without a port, or with 0, on a free one. Returns { listener =,
-- transport =, local_address = }. ROAM_E_PERMISSION: beyond loopback while everybody may come in.
function Broker:listen(transport, address)
  local number, message, code = core.broker_listen(self.handle, self.loop:now(), transport_number(transport), with_port(address))
  if not number then
    return nil, message, code
  end
  return self:_bound(number, transport)
end

--- A listener that is no IP address: the path of a Unix socket (a stale file there is replaced; whoever may open it counts as local),
-- or "fd:3", a socket already listening that the process was given, whose address `address` is. Not for quic.
function Broker:listen_name(transport, name, address)
  local number, message, code = core.broker_listen_name(self.handle, self.loop:now(), transport_number(transport), name, address)
  if not number then
    return nil, message, code
  end
  return self:_bound(number, transport, name)
end

-- The decide function's verdict; what fails lets nobody in.
function Broker:_ask(ev)
  local ok, verdict = pcall(self.decide, ev)
  if not ok then
    self:admit(ev.peer, { reason = 0x80 })
    ev.decide_error = verdict
  elseif verdict ~= nil then
    self:admit(ev.peer, type(verdict) == "table" and verdict or { reason = verdict and 0 or 0x87 })
  end
end

function Broker:_take(ev)
  if ev.kind == "LISTENING" or ev.kind == "LISTEN_FAILED" then
    self.bound[ev.token] = ev
  elseif ev.kind == "DRAINED" then
    self.drained = ev
  elseif ev.kind == "AUTH" and self.decide then
    self:_ask(ev)
  end
  if self.on_event then
    self.on_event(ev)
  end
end

function Broker:_collect()
  return collect(self, core.broker_poll)
end

--- Where clients connect: "mqtt-quic://127.0.0.1:14567", "mqtt://127.0.0.1:1883", and so on for the first listener of each.
function Broker:url()
  return "mqtt-quic://" .. self.addresses.quic
end
function Broker:tcp_url()
  return "mqtt://" .. self.addresses.tcp
end
function Broker:tls_url()
  return "mqtts://" .. self.addresses.tls
end
function Broker:ws_url()
  return "ws://" .. self.addresses.ws .. (self.options.ws_path or "/mqtt")
end
function Broker:wss_url()
  return "wss://" .. self.addresses.wss .. (self.options.ws_path or "/mqtt")
end

--- Other certificate, key, CA and more (PEM text; nil: as before) for new connections. nil, message, code says which PEM is bad; the old
-- ones stay then.
function Broker:set_certificate(certificate, key, ca, more)
  ca, certificate, key, more = ca or self.ca, certificate or self.certificate, key or self.key, more or self.more or ""
  local ok, message, code = core.broker_set_certificate(self.handle, ca, certificate, key,
    self.options.request_client_certificate or false, self.options.require_client_certificate or false, more)
  if not ok then
    return nil, message, code
  end
  self.ca, self.certificate, self.key, self.more = ca, certificate, key, more
  return true
end

local function replace_access(self, command, text, is_acl)
  local wrong = core.access_error(text, is_acl)
  if wrong then
    return failure("ROAM_E_OPTION", wrong)
  end
  return command(self.handle, self.loop:now(), text)
end

--- Replaces the passwords (a password file's text): clients whose user is gone or has another hash are disconnected with 0x87.
-- ROAM_E_OPTION: a wrong line, and nothing has changed; ROAM_E_STATE: the broker was made without passwords.
function Broker:set_passwords(text)
  return replace_access(self, core.broker_set_passwords, text, false)
end

--- Replaces the access list, from now on. ROAM_E_OPTION: a wrong line, and nothing has changed.
function Broker:set_acl(text)
  return replace_access(self, core.broker_set_acl, text, true)
end

--- Other values for what can change while it runs, for what begins from now on: connect_timeout_ns, session_expiry_max_s,
-- receive_maximum, topic_alias_maximum, queue_messages_max, queue_bytes_max, overflow, server_keep_alive. nil, message, code: nothing
-- has changed.
function Broker:reconfigure(options)
  check_options("reconfigure", options, RECONFIGURABLE)
  local before = {}
  for name in pairs(options) do
    before[name] = self.o[name]
  end
  local ok, message, code = fill(self.o, options, RECONFIGURABLE, {})
  local wrong = ok and core.broker_option_error(self.o)
  if wrong then
    ok, message, code = failure("ROAM_E_OPTION", wrong)
  end
  if ok then
    ok, message, code = core.broker_reconfigure(self.handle, self.o)
  end
  if not ok then
    for name, value in pairs(before) do
      self.o[name] = value
    end
    return nil, message, code
  end
  return true
end

--- Answers an AUTH event by its ev.peer, now or later. verdict: reason (0: come in; 0x18: another round, data goes out in AUTH; from
-- 0x80 on: refused), data, user_name (nil: as CONNECT says), text (refused: why, at most 255 bytes). ROAM_E_NOT_FOUND: nobody with
-- that number waits any more; forget it.
function Broker:admit(peer, verdict)
  verdict = verdict or {}
  return core.broker_admit(self.handle, self.loop:now(), peer, verdict.reason or 0, verdict.data or "", verdict.user_name, verdict.text)
end

--- Publishes from within, as a client would. options: qos (0), retain.
function Broker:publish(topic, payload, options)
  options = options or {}
  return core.broker_publish(self.handle, self.loop:now(), topic, payload, options.qos or 0, options.retain or false)
end

--- MQTT-next: subscribes a session to a filter on a flow of the broker's own, which it opens as soon as the client is there and speaks
-- flows; the messages wait until then. It lasts as long as the session. ROAM_E_NOT_FOUND: no session of that name; ROAM_E_ARGUMENT: no
-- such filter; ROAM_E_LIMIT: a bound.
function Broker:assign(client_id, filter, options)
  return core.broker_assign(self.handle, self.loop:now(), client_id, filter, options and options.qos or 1)
end

--- Takes an assigned filter back: the flow ends when what it has has been said. ROAM_E_NOT_FOUND.
function Broker:withdraw(client_id, filter)
  return core.broker_withdraw(self.handle, self.loop:now(), client_id, filter)
end

--- Disconnects a client. ROAM_E_NOT_FOUND.
function Broker:kick(client_id, reason)
  return core.broker_kick(self.handle, self.loop:now(), client_id, reason or 0x98)
end

--- Sends everybody to another server ("host[:port]"). options: reason (0x9C use another server; 0x9D server moved), spread_ns (0),
-- timeout (the spread and 10 s). Returns how many were asked, when nobody is left. wait = false: returns at once, a DRAINED event tells.
function Broker:send_away(server_reference, options)
  options = options or {}
  local spread_ns = options.spread_ns or 0
  self.drained = nil
  local ok, message, code =
    core.broker_send_away(self.handle, self.loop:now(), options.reason or 0x9C, server_reference, spread_ns)
  if not ok or options.wait == false then
    return ok, message, code
  end
  self.loop:run(options.timeout or spread_ns / 1e9 + 10, function()
    return self.drained
  end)
  if not self.drained then
    return failure("ROAM_E_TIMEOUT", "not everybody has left")
  end
  return self.drained.token
end

--- Who is there, and whose session is: all of roam_peer_info under its names, such as client_id, connected, transport, ip_address
-- (the current one), connect_address, moves, connects, queued, rtt_ns.
function Broker:clients()
  return core.broker_clients(self.handle)
end

--- The addresses a client had, oldest first: { at =, address =, by_connect = }.
function Broker:history(client_id)
  return core.broker_history(self.handle, client_id)
end

--- All of roam_broker_stats under its names: connections, sessions, moves, messages_in, auth_failures, ...
function Broker:stats()
  return struct(core.broker_get_stats(self.handle), core.BROKER_STATS)
end

--- Everything at once: stats, listeners, and clients, each with its history.
function Broker:snapshot()
  local clients = self:clients()
  for _, client in ipairs(clients) do
    client.history = self:history(client.client_id)
  end
  return { stats = self:stats(), listeners = self.listeners, clients = clients }
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

-- ---- certificates ----------------------------------------------------------------------------------------------------------

local function identity(common_name, names, options, ca, ca_key)
  options = options or {}
  return core.make_identity(common_name, names or "localhost", options.days or 30, options.client or false, ca or "", ca_key or "")
end

--- A throw-away CA and a certificate by it, for tests and first steps: { ca_certificate =, ca_key =, certificate =, key = }, PEM. names:
-- DNS names and IP addresses, by commas. options: days (30), client (for a client).
function M.identity_make(common_name, names, options)
  return identity(common_name, names or "localhost,127.0.0.1,::1", options)
end

--- Another certificate by a CA that exists, such as a client's (client = true).
function M.identity_issue(ca_certificate, ca_key, common_name, names, options)
  return identity(common_name, names, options, ca_certificate, ca_key)
end

-- ---- NAT -----------------------------------------------------------------------------------------------------------------

local Nat = {}
Nat.__index = Nat
Nat._free = leave
Nat.__close = function(self)
  self:close()
end

local NAT_OWN = { loop = "table", inside = "string", server = "string", address = "string" }
local NAT = members_of("delay_ns jitter_ns loss_ppm rate_bytes_s idle_udp_ns idle_tcp_ns mappings_max hanging_max tcp_buffer_bytes", "number",
  members_of("udp tcp", "boolean", members_of("inside server address", "string", {
    loop = "table",
    filtering = {
      endpoint_independent = core.FILTERING_ENDPOINT_INDEPENDENT, address_dependent = core.FILTERING_ADDRESS_DEPENDENT,
      address_and_port_dependent = core.FILTERING_ADDRESS_AND_PORT_DEPENDENT,
    },
  })))
local NAT_STATS = "udp_mappings tcp_mappings rebinds resets datagrams bytes lost hanging" -- datagrams, bytes, lost: { out, in }

--- A NAT in user space. Required: loop, server ("127.0.0.1:14567"), address (the public one, "127.0.10.200"). Clients connect to
-- nat:inside(). Other options have the names of roam_relay_options (roamqtt/hop.h): delay_ns, jitter_ns, loss_ppm, rate_bytes_s, ...
function M.nat(options)
  check_options("nat", options, NAT)
  if not options.loop then
    error("roamqtt.nat: option 'loop': required; make one with roamqtt.loop()", 2)
  end
  local o = core.relay_options()
  o.server, o.address, o.inside = options.server or "", options.address or "", with_port(options.inside or "127.0.0.1")
  local good, why, number = fill(o, options, NAT, NAT_OWN)
  if not good then
    return nil, why, number
  end
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

function Nat:_take(ev)
  if self.on_event then
    self.on_event(ev)
  end
end

function Nat:_collect()
  return collect(self, core.relay_poll)
end

--- Where clients connect: "127.0.0.1:40123".
function Nat:inside()
  return core.relay_inside(self.handle)
end

--- Forgets all mappings and takes another public address.
function Nat:rebind(address)
  return core.relay_rebind(self.handle, self.loop:now(), address)
end

--- One way, in ns; jitter is added on top, up to so much.
function Nat:set_delay(delay_ns, jitter_ns)
  core.relay_set_delay(self.handle, delay_ns, jitter_ns or 0)
end

--- 10000 is one datagram in a hundred.
function Nat:set_loss(loss_ppm)
  core.relay_set_loss(self.handle, loss_ppm)
end

--- Each way; 0: no limit.
function Nat:set_rate(rate_bytes_s)
  core.relay_set_rate(self.handle, rate_bytes_s)
end

--- All of roam_relay_stats under its names.
function Nat:stats()
  return struct(core.relay_get_stats(self.handle), NAT_STATS)
end

--- true: nothing passes.
function Nat:set_down(down)
  core.relay_set_down(self.handle, down)
end

--- Ends at once: what was on its way is lost.
function Nat:close()
  leave(self)
end

return M
