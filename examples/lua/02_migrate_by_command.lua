-- No NAT: the client itself moves to another local address and back, while it publishes.
local roamqtt = require "roamqtt"

local loop = roamqtt.loop()
local broker = assert(roamqtt.broker { loop = loop })
local client = assert(roamqtt.client {
  loop = loop, url = broker:url(), client_id = "walker", ca = broker.ca, local_address = "127.0.10.200",
})
assert(client:connect())
for _, where in ipairs { "127.0.10.203", "127.0.10.200" } do
  assert(client:publish("walk/before", where, { qos = 1 }))
  local moved = assert(client:migrate(where))
  assert(client:publish("walk/after", where, { qos = 1 }))
  print(moved.old_local .. " -> " .. moved.local_address)
  assert(broker:clients()[1].ip_address:find(where, 1, true))
end
assert(broker:clients()[1].connects == 1)
client:close()
broker:close()
loop:close()
