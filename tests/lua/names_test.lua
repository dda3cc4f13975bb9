-- One word in C, in Lua and in the documents: options, events and figures are compared with the public headers, so that what is added
-- there and not here is noticed.
local roamqtt = require "roamqtt"
local core = require "roamqtt.core"

local tests = {}

-- Members that no option has, and why.
local ELSEWHERE = {
  client = { size = "the struct's own", tls = "its members are options themselves", log = "an open file", tap = "the options keylog and qlog" },
  relay = { size = "the struct's own", log = "a relay has nothing to say" },
  broker = { size = "the struct's own", tls = "its members are options themselves", log = "an open file", tap = "the options keylog and qlog",
    workers = "a script's broker is one worker", worker = "likewise", encrypt_ids = "likewise" },
}

local function members(header, struct)
  local file = assert(io.open("core/include/roamqtt/" .. header))
  local text = file:read("*a"):gsub("/%*.-%*/", "")
  file:close()
  local body = text:match("typedef struct " .. struct .. " (%b{})"):gsub("union %b{} u;", ""):gsub("%[[^%]]*%]", ""):sub(2, -2)
  local found, count = {}, 0
  local map = body:match("([%w_]+_MAP)%(X%)") -- a table of lines X(type, name, ...)
  for name in (map and text:match("#define " .. map .. "(.-)\n\n") or ""):gmatch("X%([%w_]+, ([%w_]+),") do
    found[name] = true
    count = count + 1
  end
  body = map and "" or body
  for declaration in body:gmatch("[^;]+") do
    for name in declaration:gmatch("([%w_]+)%s*%f[,\0]") do
      found[name] = true
      count = count + 1
    end
  end
  assert(count > 1, struct)
  return found
end

local function members_of_text(text)
  local found = {}
  for name in text:gmatch("%S+") do
    found[name] = true
  end
  return found
end

-- What a table of options takes, asked from the outside: an unknown one raises.
local function takes(make, name)
  local _, message = pcall(make, { [name] = print })
  return not tostring(message):find("unknown option", 1, true)
end

local function c_name(name)
  return name == "local" and "local_address" or name
end

function tests.each_option_of_a_nat()
  for name in pairs(members("hop.h", "roam_relay_options")) do
    assert(ELSEWHERE.relay[name] or takes(roamqtt.nat, name), name .. ": in the header, not in the module")
  end
end

for _, owner in ipairs { "client", "broker" } do
  tests["each_option_of_a_" .. owner] = function()
    local count = 0
    for name in pairs(members(owner .. ".h", "roam_" .. owner .. "_options")) do
      if not ELSEWHERE[owner][name] then
        assert(takes(roamqtt[owner], c_name(name)), name .. ": in the header, not in the module")
        count = count + 1
      end
    end
    assert(count > 50)
    for name in pairs(members("tls.h", "roam_tls_config")) do
      local ours = name ~= "wall_unix_s" and (name ~= "insecure" or owner == "client") and (not (name == "more" or name:find("client")) or owner == "broker")
      assert(takes(roamqtt[owner], name) == ours, name)
    end
  end

  tests["each_option_of_a_" .. owner .. "_reaches_the_core"] = function()
    local loop = roamqtt.loop()
    for name in pairs(members(owner .. ".h", "roam_" .. owner .. "_options")) do
      name = c_name(name)
      local _, message = pcall(roamqtt[owner], { [name] = print })
      local kind = tostring(message):match("expected (.-), got function")
      if kind == "number" then
        local got, why, code = roamqtt[owner] { loop = loop, url = owner == "client" and "mqtt://h" or nil, [name] = -1.5 }
        assert(got == nil and code == core.E_OPTION and why:find(name .. ": expected a whole number", 1, true), name .. ": " .. tostring(why))
        local o = core[owner .. "_options"]()
        local before = o[name]
        o[name] = before == 0 and 1 or before - 1
        assert(o[name] ~= before and math.type(o[name]) == "integer", name)
      end
    end
    loop:close()
  end
end

function tests.what_does_not_fit_is_said()
  local loop = roamqtt.loop()
  for _, case in ipairs {
    { { keep_alive_s = 70000 }, "keep_alive_s: 70000 is out of its range" },
    { { version = 261 }, "version: 261 is out of its range" },
    { { congestion = "vegas" }, "congestion: expected bbr or cubic or reno, not 'vegas'" },
    { { lanes = "many" }, "lanes: expected one or per-message" },
    { { log_level = "loud" }, "log_level: expected error" },
    { { log_format = "xml" }, "log_format: expected text or json" },
  } do
    case[1].loop, case[1].url = loop, "mqtt://h"
    local none, message, code = roamqtt.client(case[1])
    assert(none == nil and message:find(case[2], 1, true) and code == core.E_OPTION, message)
  end
  local none, message, code = roamqtt.client { loop = loop, url = "mqtts://h", ca = "not PEM" }
  assert(none == nil and message:find("^ROAM_E_CERTIFICATE: ") and code == core.E_CERTIFICATE)
  none, message = roamqtt.broker { loop = loop, overflow = "burst" }
  assert(none == nil and message:find("overflow: expected drop_newest or drop_oldest or refuse", 1, true), message)
  loop:close()
end

function tests.each_event_has_what_the_header_says()
  local file = assert(io.open("core/include/roamqtt/event.h"))
  local text = file:read("*a")
  file:close()
  local count = 0
  local common = members("event.h", "roam_event")
  for name, number, rest in text:match("#define ROAM_EVENT_MAP(.-)typedef"):gmatch("X%((%w+_?[%w_]*), (%d+),(.-)[)\"]%s*\\?\n") do
    local ev = core.sample_event(math.tointeger(tonumber(number)))
    assert(ev.kind == name, name)
    for member in pairs(common) do
      assert(ev[member] ~= nil or member == "text", name .. " has no " .. member)
    end
    local part = rest:match("u%.(%w+)")
    if part and part ~= "rate" then -- a load run's, which has no binding
      for member in pairs(members("event.h", "roam_event_" .. part)) do
        local given_or_nil = part == "auth" and (member == "user_name" or member == "password" or member == "method" or member == "data")
        assert(ev[c_name(member)] ~= nil or given_or_nil, name .. " has no " .. member)
      end
    end
    count = count + 1
  end
  assert(count > 30, count)
end

-- Functions of client.h and broker.h whose methods have another name, or that the package calls by itself.
local OTHER_WORDS = {
  client = { start = "connect", free = "close", get_stats = "stats", subscribe_how_to = "subscribe", error = "connect", id = "stats" },
  broker = { free = "close", stop = "close", get_stats = "stats", client = "clients" },
}
local OWN = members_of_text "feed tick drain poll deadline machine new options_init option_error stats_add mail_drop secret"

function tests.each_function_has_its_method()
  local loop = roamqtt.loop()
  local broker = assert(roamqtt.broker { loop = loop, quic = "" })
  local objects = { broker = broker, client = assert(roamqtt.client { loop = loop, url = broker:tcp_url() }) }
  for owner, object in pairs(objects) do
    local count = 0
    local file = assert(io.open("core/include/roamqtt/" .. owner .. ".h"))
    for name in file:read("*a"):gsub("/%*.-%*/", ""):gmatch("roam_" .. owner .. "_([%w_]+)%(") do
      local word = OTHER_WORDS[owner][name] or name
      assert(OWN[name] or type(object[word]) == "function", owner .. ".h has roam_" .. owner .. "_" .. name)
      count = count + 1
    end
    file:close()
    assert(count > 15)
    object:close()
  end
  loop:close()
end

function tests.each_figure_is_there()
  local loop = roamqtt.loop()
  local broker = assert(roamqtt.broker { loop = loop, quic = "" })
  local c = assert(roamqtt.client { loop = loop, url = broker:tcp_url(), client_id = "x" })
  assert(c:connect())
  local nat = assert(roamqtt.nat { loop = loop, server = broker.addresses.tcp, address = "127.0.10.200", loss_ppm = 7, filtering = "address_dependent" })
  for _, case in ipairs {
    { c:stats(), members("client.h", "roam_client_stats") },
    { nat:stats(), members("hop.h", "roam_relay_stats") },
    { broker:stats(), members("broker.h", "roam_broker_stats") },
    { broker:clients()[1], members("broker.h", "roam_peer_info") },
    { broker:history("x")[1], members("broker.h", "roam_address_change") },
  } do
    for name in pairs(case[2]) do
      assert(case[1][c_name(name)] ~= nil, name)
    end
  end
  c:close()
  nat:close()
  broker:close()
  loop:close()
end

dofile "tests/lua/runner.lua"(tests)
