-- The embedded broker: listeners, access, verdicts, snapshots.
local core = require "roamqtt.core"
local certificates = require "roamqtt.certificates"
local shared = require "roamqtt.shared"
local members_of, fill, check_options, struct, with_port, failure, judge, class, CONGESTION, put_sinks, join, collect, leave =
  shared.members_of, shared.fill, shared.check_options, shared.struct, shared.with_port, shared.failure, shared.judge,
  shared.class, shared.CONGESTION, shared.put_sinks, shared.join, shared.collect, shared.leave

local M = {}

local Broker = class()

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
  local o = core.broker_options()
  local good, message, code = fill(o, options, BROKER, BROKER_OWN)
  if not good then
    return nil, message, code
  end
  local ca, certificate, key = options.ca, options.certificate, options.key
  if not certificate then
    local made
    made, message, code = certificates.identity_make("roamqtt", options.names)
    if not made then
      return nil, message, code
    end
    ca, certificate, key = made.ca_certificate, made.certificate, made.key
  end
  o.tls.ca, o.tls.certificate, o.tls.key, o.tls.wall_unix_s = ca or "", certificate, key or "", core.wall_unix_s()
  o.decide = options.decide and true or false
  good, message, code = judge(o, core.broker_option_error)
  if not good then
    return nil, message, code
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

return M
