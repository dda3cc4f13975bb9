-- The application decides who may come in: at once in a function, or later, when it has asked somebody.
local roamqtt = require "roamqtt"

local USERS = { anna = "secret" }
local waiting = {}

local loop = roamqtt.loop()
local broker = assert(roamqtt.broker {
  loop = loop,
  decide = function(request)
    if request.user_name == nil then
      waiting[#waiting + 1] = request.peer
      return nil -- later
    end
    if USERS[request.user_name] then
      return USERS[request.user_name] == request.password
    end
    return { reason = 0x8A, text = "ask at the desk for a user name" }
  end,
})

local function try(name, password)
  local client = assert(roamqtt.client { loop = loop, url = broker:tcp_url(), user_name = name, password = password, reconnect = false })
  local ok, message = client:connect()
  print(name .. ": " .. (ok and "came in" or message))
  client:close()
  return ok
end
assert(try("anna", "secret"))
assert(not try("anna", "guess"))
assert(not try("bob", "x"))

-- The answer may take as long as connect_timeout_ns; others are served meanwhile.
local guest = assert(roamqtt.client { loop = loop, url = broker:tcp_url(), client_id = "guest" })
guest.on_event = function(event)
  print("guest: " .. event.kind)
end
local began = loop:now()
broker.on_event = function(event)
  if event.kind == "AUTH" and event.id == "guest" then
    assert(try("anna", "secret")) -- somebody else, in between
    assert(broker:admit(waiting[1], { user_name = "guest" }))
  end
end
assert(guest:connect())
assert(loop:now() > began and broker:clients()[#broker:clients()].user_name == "guest")

guest:close()
broker:close()
loop:close()
