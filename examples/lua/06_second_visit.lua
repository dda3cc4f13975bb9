-- QUIC's second visit: with the first run's tickets in a file, CONNECT and what is safe to repeat leave in the first flight.
local roamqtt = require "roamqtt"

local path = os.tmpname() -- becomes mode 0600: whoever has it can resume our connections
os.remove(path)
local loop = roamqtt.loop()
local broker = assert(roamqtt.broker { loop = loop })
for run = 0, 1 do
  local client = assert(roamqtt.client { loop = loop, url = broker:url(), ca = broker.ca, client_id = "again", state_file = path })
  local kept = false
  client.on_event = function(event)
    kept = kept or event.kind == "STATE"
  end
  assert(client:connect())
  -- Could an attacker play it again? A reading with a time in it may be; "open the door" may not.
  assert(client:publish("t", "reading " .. run, { qos = 1, safe_to_repeat = true }))
  assert(loop:run(5, function() return kept end))
  local stats = client:stats()
  print(("run %d: resumed %d, early data accepted %d"):format(run, stats.resumed, stats.early_accepted))
  assert(stats.resumed == run and stats.early_accepted == run)
  client:close()
end
os.remove(path)
broker:close()
loop:close()
