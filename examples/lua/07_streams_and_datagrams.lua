-- One connection, many streams: a bulk transfer that does not hold up a control loop, by lane and weight, and figures in datagrams.
local roamqtt = require "roamqtt"

local CONTROL, BULK = 1, 2 -- data streams of one's own, by number
local loop = roamqtt.loop()
local broker = assert(roamqtt.broker { loop = loop })
local client = assert(roamqtt.client { loop = loop, url = broker:url(), ca = broker.ca, client_id = "robot", flows = true })
assert(client:connect())
assert(client:subscribe("control/#", { qos = 1, lane = CONTROL }))
assert(client:subscribe("bulk/#", { qos = 1, lane = BULK }))
assert(client:subscribe("figures/#", { datagram = true }))
assert(client:lane_weight(CONTROL, 256)) -- of 1 to 256: when both have something, it goes first
assert(client:lane_weight(BULK, 1))
for number = 1, 20 do
  assert(client:publish("bulk/x", ("x"):rep(50000), { qos = 1, lane = BULK, wait = false }))
  assert(client:publish("control/x", tostring(number), { qos = 1, lane = CONTROL, wait = false }))
  assert(client:publish("figures/x", tostring(number), { datagram = true })) -- late is as bad as never
end

local control, bulk, figures = 0, 0, 0
while control < 20 or bulk < 20 do
  local message = assert(client:next(10))
  if message.topic == "control/x" then
    control = control + 1
    assert(message.payload == tostring(control)) -- in order within its lane
    if control == 20 then
      print(("control: all 20 in order; %d of 20 bulk messages are still on their way"):format(20 - bulk))
    end
  elseif message.topic == "bulk/x" then
    bulk = bulk + 1
  else
    figures = figures + 1
  end
end
local stats = client:stats()
print(("%d data streams, %d datagrams out, %d figures in"):format(stats.lanes, stats.datagrams_out, figures))
assert(stats.lanes == 2 and stats.datagrams_out > 0 and stats.flows)

client:close()
broker:close()
loop:close()
