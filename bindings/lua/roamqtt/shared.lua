-- What the parts of the module share: options into structs, structs into tables, membership of a loop. Not for scripts.
local core = require "roamqtt.core"

local function members_of(text, kind, into)
  for name in text:gmatch("%S+") do
    into[name] = kind
  end
  return into
end

local core_tls = members_of("ca certificate key more insecure require_client_certificate request_client_certificate", true, {})

-- Sets what the script gave in a struct of options. known: name -> type, or a table of the words it may have. Raises on misuse; returns
-- nil, message, code for a value that cannot be.
local function fill(o, given, known, own)
  for name, value in pairs(given) do
    local expected = known[name]
    if expected and not own[name] then
      local field = name == "local_address" and "c_local" or name
      if type(expected) == "table" then
        if not expected[value] then
          local words = {}
          for word in pairs(expected) do
            words[#words + 1] = word
          end
          table.sort(words)
          return nil, ("ROAM_E_OPTION: %s: expected %s, not '%s'"):format(name, table.concat(words, " or "), tostring(value)), core.E_OPTION
        end
        o[field] = expected[value]
      else
        local where = core_tls[name] and o.tls or o
        if expected == "number" and value % 1 ~= 0 then
          return nil, ("ROAM_E_OPTION: %s: expected a whole number, got %s"):format(name, tostring(value)), core.E_OPTION
        end
        where[field] = value
        -- What does not fit its C type is cut there: then it reads back as something else.
        if expected == "number" and where[field] ~= value then
          return nil, ("ROAM_E_OPTION: %s: %s is out of its range"):format(name, tostring(value)), core.E_OPTION
        end
      end
    end
  end
  return true
end

local function check_options(what, given, known)
  if type(given) ~= "table" then
    error(("roamqtt.%s: expected a table of options, got %s"):format(what, type(given)), 3)
  end
  for name, value in pairs(given) do
    local expected = known[name]
    if not expected then
      error(("roamqtt.%s: unknown option '%s'"):format(what, tostring(name)), 3)
    end
    expected = type(expected) == "table" and "string" or expected
    if type(value) ~= expected and not (expected:find("|", 1, true) and expected:find(type(value), 1, true)) then
      error(("roamqtt.%s: option '%s': expected %s, got %s"):format(what, name, expected:gsub("|", " or "), type(value)), 3)
    end
  end
  if known.loop and not given.loop then
    error(("roamqtt.%s: option 'loop': required; make one with roamqtt.loop()"):format(what), 3)
  end
end

local function struct(s, names)
  local found = {}
  for name in names:gmatch("%S+") do
    if name == "local" then
      found.local_address = s.c_local
    elseif name == "transport" then
      found.transport = core.transport_name(s.transport)
    else
      found[name] = s[name]
    end
  end
  return found
end

local function ns(seconds)
  return math.floor(seconds * 1000000000)
end

local function with_port(address)
  if address:find("^%[") or select(2, address:gsub(":", "")) == 1 then
    return address
  end
  return address:find(":") and ("[" .. address .. "]:0") or (address .. ":0")
end

local function failure(name, text)
  return nil, name .. ": " .. text, core["E_" .. name:sub(8)]
end

local CONGESTION = { cubic = core.CONGESTION_CUBIC, reno = core.CONGESTION_RENO, bbr = core.CONGESTION_BBR }
local LEVELS = { error = core.LOG_ERROR, warning = core.LOG_WARNING, notice = core.LOG_NOTICE, info = core.LOG_INFO, debug = core.LOG_DEBUG }

-- A descriptor's number, or an open file of Lua's own: its descriptor is found by the core.
local function sink(value)
  if value == nil then
    return -1
  end
  return type(value) == "number" and value or core.file_descriptor(value)
end

local function put_sinks(set, o, options)
  local level = LEVELS[options.log_level or "notice"]
  if not level then
    return nil, "ROAM_E_OPTION: log_level: expected error, warning, notice, info or debug", core.E_OPTION
  end
  local format = options.log_format or "text"
  if format ~= "text" and format ~= "json" then
    return nil, "ROAM_E_OPTION: log_format: expected text or json", core.E_OPTION
  end
  local folder, message, code = -1, nil, nil
  if options.qlog then
    folder, message, code = core.folder_descriptor(options.qlog)
    if not folder then
      return nil, message, code
    end
  end
  set(o, sink(options.log), level, format == "json", sink(options.keylog), folder)
  return true, folder
end

local function join(self, loop, add, remove, free)
  self.loop, self._remove, self._release = loop, remove, free
  self.queue, self.first, self.last = {}, 1, 0
  local ok, message, code = add(loop.handle, self.handle)
  if not ok then
    free(self.handle)
    return nil, message, code
  end
  -- A new list each time: a callback may add and close members while the loop walks through the old one.
  loop.members = { self, (table.unpack or unpack)(loop.members) }
  return self
end

local function without(list, gone)
  local rest = {}
  for _, member in ipairs(list) do
    rest[#rest + 1] = member ~= gone and member or nil
  end
  return rest
end

-- Takes what there is. An error of a callback's must not lose the events behind its own: it is given back, for the end of the step.
local function collect(self, poll)
  local wrong
  repeat
    local events = self.handle and poll(self.handle) or {}
    for _, ev in ipairs(events) do
      local ok, message = pcall(self._take, self, ev)
      wrong = not ok and message or wrong
    end
  until #events == 0
  return wrong
end

local function leave(self)
  if self.handle then
    local handle = self.handle
    self.handle = nil
    self.loop.members = without(self.loop.members, self)
    self._remove(self.loop.handle, handle)
    self._release(handle)
    if (self.folder or -1) >= 0 then
      core.close_descriptor(self.folder) -- of qlogs
    end
  end
end

local function push(self, item)
  self.last = self.last + 1
  self.queue[self.last] = item
end

local function pop(self)
  if self.first <= self.last then
    local item = self.queue[self.first]
    self.queue[self.first] = nil
    self.first = self.first + 1
    return item
  end
end

-- Would the core take these options? true, or nil, message, code.
local function judge(o, option_error)
  local wrong = option_error(o)
  if wrong then
    return failure("ROAM_E_OPTION", wrong)
  end
  wrong = core.tls_config_error(o.tls)
  if wrong then
    return failure("ROAM_E_CERTIFICATE", wrong)
  end
  return true
end

-- For objects on a loop, which end with their scope.
local function class()
  local made = { _free = leave }
  made.__index = made
  made.__close = function(self)
    self:close()
  end
  return made
end

return {
  members_of = members_of,
  fill = fill,
  check_options = check_options,
  struct = struct,
  ns = ns,
  with_port = with_port,
  failure = failure,
  judge = judge,
  class = class,
  CONGESTION = CONGESTION,
  put_sinks = put_sinks,
  join = join,
  collect = collect,
  leave = leave,
  push = push,
  pop = pop,
}
