-- The codec alone: every vector decoded, encoded and cut; what cannot be; what a peer would refuse.
local mqtt = require("roamqtt").mqtt

local MAXIMUM = 1 << 20 -- the vectors' own
local tests = {}

local function vectors()
  local list = {}
  for line in io.lines("tests/vectors/packets.txt") do
    if line ~= "" and line:sub(1, 1) ~= "#" then
      local name, version, from, hex, meaning = line:match("^(%S+) (%S+) (%S+) (%S+) (.*)$")
      local packet = hex:gsub("%x%x", function(byte) return string.char(tonumber(byte, 16)) end)
      list[#list + 1] = {
        name = name, version = math.tointeger(tonumber(version)), from_server = from == "s", packet = packet, meaning = meaning,
        second_connect = from == "x" and packet:byte(1) >> 4 == 1,
      }
    end
  end
  assert(#list > 200)
  return list
end

local function decode(v, packet)
  return mqtt.decode(packet or v.packet, v.version, v.from_server, MAXIMUM)
end

local function same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then
    return a == b
  end
  for key, value in pairs(a) do
    if not same(value, b[key]) then return false end
  end
  for key in pairs(b) do
    if a[key] == nil then return false end
  end
  return true
end

function tests.good_vectors_round_trip()
  for _, v in ipairs(vectors()) do
    if v.meaning:sub(1, 1) ~= "!" then
      local packet, used = decode(v, v.packet .. "\xc0\0")
      assert(packet, v.name .. ": " .. tostring(used))
      assert(used == #v.packet and packet.type == v.meaning:match("^%S+"), v.name)
      local bytes = assert(mqtt.encode(packet))
      assert((bytes == v.packet) == not v.meaning:find("~", 1, true), v.name)
      assert(same(decode(v, bytes), packet), v.name)
      for length = 0, #v.packet - 1 do
        local none, more = decode(v, v.packet:sub(1, length))
        assert(none == nil and more == "more", v.name)
      end
    end
  end
end

function tests.bad_vectors_name_their_reason()
  for _, v in ipairs(vectors()) do
    if v.meaning:sub(1, 1) == "!" and not v.second_connect then
      local none, message, code, reason = decode(v)
      assert(none == nil and message:find("^ROAM_E_[%u_]+: ") and code <= -100, v.name)
      assert(reason == tonumber(v.meaning:match("^!(0x%x+)")), v.name .. ": " .. tostring(reason))
    end
  end
end

function tests.every_field_by_hand()
  local publish = {
    type = "PUBLISH", topic = "a/b", payload = "zero\0byte", qos = 1, packet_id = 7, retain = true,
    properties = { { "USER_PROPERTY", { "b", "1" } }, { "CONTENT_TYPE", "text/plain" }, { 0x02, 60 }, { "USER_PROPERTY", { "a", "2" } } },
  }
  local packet = mqtt.decode(assert(mqtt.encode(publish)))
  assert(packet.payload == "zero\0byte" and packet.properties[1][2][2] == "1" and packet.properties[4][2][1] == "a")
  assert(packet.properties[3][1] == "MESSAGE_EXPIRY_INTERVAL" and packet.properties[3][2] == 60)
  local connect = {
    type = "CONNECT", client_id = "c", clean_start = true, keep_alive = 65535, user_name = "", password = "\0",
    will = { topic = "w", payload = "bye", qos = 1, properties = { { "WILL_DELAY_INTERVAL", 5 } } },
  }
  packet = mqtt.decode(assert(mqtt.encode(connect)))
  assert(packet.user_name == "" and packet.password == "\0" and packet.will.payload == "bye" and packet.keep_alive == 65535)
  assert(packet.will.properties[1][2] == 5)
  local subscribe = { type = "SUBSCRIBE", packet_id = 1, filters = { { filter = "a/#", qos = 2, no_local = true }, { filter = "b" } } }
  packet = mqtt.decode(assert(mqtt.encode(subscribe)))
  assert(packet.filters[1].no_local and packet.filters[1].qos == 2 and packet.filters[2].filter == "b")
  packet = mqtt.decode(assert(mqtt.encode { type = "SUBACK", packet_id = 1, codes = { 0, 1, 0x80 } }), 5, true)
  assert(packet.codes[3] == 0x80)
end

function tests.what_cannot_be_written()
  local none, message, code = mqtt.encode { type = "PUBLISH", topic = "a/+" }
  assert(none == nil and message:find("^ROAM_E_ARGUMENT: ") and code == -1)
  assert(not mqtt.encode { type = "PUBLISH", topic = "a", qos = 1 })
  assert(not mqtt.encode { type = "AUTH", version = 4 })
  for _, wrong in ipairs {
    { type = "PUBLISHED" }, {}, { type = "PUBLISH", topic = 5 }, { type = "PUBLISH", topic = "a", qos = 3 },
    { type = "PUBLISH", topic = "a", properties = { { "CONTENT_TYPE", 5 } } },
    { type = "PUBLISH", topic = "a", properties = { { "NO_SUCH", 5 } } },
    { type = "PUBLISH", topic = "a", properties = { { "USER_PROPERTY", { "only" } } } },
    { type = "SUBSCRIBE", packet_id = 1, filters = { { filter = "a#" } } },
    { type = "SUBSCRIBE", packet_id = 70000, filters = { { filter = "a" } } },
  } do
    assert(not pcall(mqtt.encode, wrong))
  end
  assert(not pcall(mqtt.decode, "\xc0\0", 7))
end

dofile "tests/lua/runner.lua"(tests)
