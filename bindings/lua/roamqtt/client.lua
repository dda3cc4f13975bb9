-- The client: connecting, publishing, subscribing, moving. A call that waits steps the loop.
local core = require "roamqtt.core"
local shared = require "roamqtt.shared"
local members_of, fill, check_options, struct, failure, judge, class, CONGESTION, put_sinks, join, collect, leave, push, pop =
  shared.members_of, shared.fill, shared.check_options, shared.struct, shared.failure, shared.judge, shared.class,
  shared.CONGESTION, shared.put_sinks, shared.join, shared.collect, shared.leave, shared.push, shared.pop

local M = {}

local Client = class()

-- What the package itself takes beside the C names.
local CLIENT_OWN = members_of("state_file log_level log_format qlog", "string", { loop = "table", user_properties = "table",
  will_properties = "table", log = "userdata|number", keylog = "userdata|number" })
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
  good, message, code = judge(o, core.client_option_error)
  if not good then
    return nil, message, code
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

return M
