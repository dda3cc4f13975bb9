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

for _, part in ipairs { "loop", "client", "broker", "certificates", "nat" } do
  for name, value in pairs(require("roamqtt." .. part)) do
    M[name] = value
  end
end

return M
