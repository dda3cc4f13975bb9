-- A broker for more than oneself: TLS and QUIC, passwords, an access list, client certificates as names, and a change while it runs.
local roamqtt = require "roamqtt"

-- A line by `roamqtt passwd`: the user "user", whose password is "pencil".
local PASSWORDS = "user:SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
  .. "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=\n"
local ACL = "user user\ntopic readwrite home/#\nuser sensor-7\ntopic write home/temperature\n"

local loop = roamqtt.loop()
local ours = assert(roamqtt.identity_make "example broker")
local sensor = assert(roamqtt.identity_issue(ours.ca_certificate, ours.ca_key, "sensor-7", nil, { client = true }))
local broker = assert(roamqtt.broker {
  loop = loop, tcp = "", tls = { "127.0.0.1:0", "[::1]:0" }, ca = ours.ca_certificate, certificate = ours.certificate, key = ours.key,
  request_client_certificate = true, subject_as_user_name = true, passwords = PASSWORDS, acl = ACL,
})
for _, each in ipairs(broker.listeners) do
  print("listens on " .. each.transport .. " " .. each.local_address)
end

-- The password does not travel, and the broker proves that it knows it, too.
local reader = assert(roamqtt.client { loop = loop, url = broker:url(), ca = broker.ca, user_name = "user", password = "pencil",
  auth_method = "SCRAM-SHA-256" })
assert(reader:connect())
assert(reader:subscribe("home/#", { qos = 1 }))
local writer = assert(roamqtt.client { loop = loop, url = broker:tls_url(), ca = broker.ca, client_id = "s7",
  certificate = sensor.certificate, key = sensor.key })
assert(writer:connect())
assert(writer:publish("home/temperature", "21.5", { qos = 1 }))
print("read: " .. assert(reader:next(5)).payload)
local none, message, _, reason = writer:publish("home/door", "open", { qos = 1 })
print("refused: " .. message)
assert(none == nil and reason == 0x87)
assert(broker:set_acl(ACL .. "topic write home/door\n"))
assert(writer:publish("home/door", "open", { qos = 1 }))
assert(assert(reader:next(5)).topic == "home/door")
assert(broker:stats().acl_denied == 1)

writer:close()
reader:close()
broker:close()
loop:close()
