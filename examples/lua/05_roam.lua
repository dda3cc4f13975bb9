-- What a client that roams tells of: trouble, a move by command, and TLS when UDP is blocked. Options have the names of client.h.
local roamqtt = require "roamqtt"

local S = 1000000000 -- times are in nanoseconds
local loop = roamqtt.loop()
local broker = assert(roamqtt.broker { loop = loop, tls = "127.0.0.1:0" })
local nat = assert(roamqtt.nat { loop = loop, server = broker.addresses.quic, address = "127.0.10.200" })

local function tell(event)
  if event.kind == "CONNECTED" then
    print("  connected by " .. event.transport .. ", from " .. event.local_address)
  elseif event.kind == "PATH_TROUBLE" or event.kind == "TRANSPORT" then
    print("  " .. event.kind .. ": " .. event.text)
  end
end

print("a network that is silent for a while:")
local walker = assert(roamqtt.client {
  loop = loop, url = "mqtt-quic://" .. nat:inside(), ca = broker.ca, client_id = "walker", ping_ns = S // 5,
  roam = true, interfaces = "wlan*, wwan*:metered", roam_settle_ns = 2 * S, -- which networks, and how long a better one must stay up
})
walker.on_event = tell
assert(walker:connect())
nat:set_down(true)
assert(walker:publish("t", "on its way", { qos = 1, wait = false }))
loop:run(0.5)
nat:set_down(false)
assert(walker:hint()) -- the application knows that the network is back
assert(walker:publish("t", "the next", { qos = 1 }))

print("a move by command, both networks alive:")
local moved = assert(walker:migrate("127.0.0.2", { how = "probe" }))
print(("  moved %s -> %s: validated in %.1f ms, %.1f ms of silence"):format(moved.old_local, moved.local_address,
  moved.validation_ns / 1e6, moved.gap_ns / 1e6))
assert(walker:stats().connects == 1)

print("UDP is blocked:")
local blocked = assert(roamqtt.client {
  loop = loop, url = "mqtt-quic://127.0.0.1:9", ca = broker.ca, fallback = true, fallback_delay_ns = S // 10,
  fallback_port = math.tointeger(tonumber(broker.addresses.tls:match(":(%d+)$"))),
})
blocked.on_event = tell
assert(blocked:connect())
assert(blocked:stats().transport == "tls")

blocked:close()
walker:close()
nat:close()
broker:close()
loop:close()
