-- A publisher behind a NAT whose public address changes, twice. The session never notices; the broker shows who moved.
local roamqtt = require "roamqtt"

local HOME, AWAY = "127.0.10.200", "127.0.10.203"
local loop = roamqtt.loop()
local broker = assert(roamqtt.broker { loop = loop })
local nat = assert(roamqtt.nat { loop = loop, server = broker.addresses.quic, address = HOME })
local sensor = assert(roamqtt.client { loop = loop, url = "mqtt-quic://" .. nat:inside(), client_id = "sensor", ca = broker.ca })
local monitor = assert(roamqtt.client { loop = loop, url = broker:url(), client_id = "monitor", ca = broker.ca })
assert(sensor:connect())
assert(monitor:connect())
assert(monitor:subscribe("room/temperature", { qos = 1 }))

for number = 1, 60 do
  if number == 21 then
    assert(nat:rebind(AWAY))
  elseif number == 41 then
    assert(nat:rebind(HOME))
  end
  assert(sensor:publish("room/temperature", tostring(number), { qos = 1 }))
  local message = assert(monitor:next(5))
  assert(message.payload == tostring(number), message.payload)
end

for _, peer in ipairs(broker:clients()) do
  if peer.client_id == "sensor" then
    print("60 published, 60 received, in order")
    print(("the sensor connected %d time and moved %d times; now at %s"):format(peer.connects, peer.moves, peer.ip_address))
    assert(peer.connects == 1 and peer.moves >= 2)
    assert(peer.ip_address:find(HOME, 1, true))
  end
end

sensor:close()
monitor:close()
nat:close()
broker:close()
loop:close()
