-- The loop: one descriptor, a clock, and the machines on it. It never waits by itself when the script gave a `wait` of its own.
local core = require "roamqtt.core"
local shared = require "roamqtt.shared"
local check_options, ns = shared.check_options, shared.ns

local M = {}

local Loop = {}
Loop.__index = Loop

--- A loop. options: wait, a function(seconds) called instead of sleeping.
function M.loop(options)
  options = options or {}
  check_options("loop", options, { wait = "function" })
  local handle = core.loop_new(core.loop_options())
  if not handle then
    error("roamqtt.loop: the loop could not be made (out of descriptors?)", 2)
  end
  return setmetatable({ handle = handle, wait_fn = options.wait, members = {} }, Loop)
end

--- The one descriptor to poll for reading.
function Loop:fd()
  return core.loop_fd(self.handle)
end

--- Seconds a host may sleep before it must step.
function Loop:timeout()
  local t = core.loop_timeout(self.handle)
  return t < 0 and math.huge or t / 1e9
end

--- The core's clock, in ns.
function Loop:now()
  return core.loop_now(self.handle)
end

--- One turn; waits at most `seconds` (0) for something to happen.
function Loop:step(seconds)
  core.loop_step(self.handle, ns(seconds or 0))
  local wrong
  for _, member in ipairs(self.members) do
    wrong = member:_collect() or wrong
  end
  if wrong then
    error(wrong, 0)
  end
end

--- Steps until done() is true or `seconds` have passed; returns whether it is.
function Loop:run(seconds, done)
  local finish = seconds and (self:now() + ns(seconds))
  while true do
    if done and done() then
      return true
    end
    local left = finish and (finish - self:now()) / 1e9 or 1
    if left <= 0 then
      return false
    end
    if self.wait_fn then
      self:step(0)
      if not (done and done()) then
        self.wait_fn(math.min(left, self:timeout()))
      end
    else
      self:step(math.min(left, 1))
    end
  end
end

--- Closes all sockets of the loop and everything on it.
function Loop:close()
  if self.handle then
    for _, member in ipairs(self.members) do
      member:_free()
    end
    core.loop_free(self.handle)
    self.handle = nil
  end
end
Loop.__close = Loop.close

-- Never blocks: __gc only closes sockets; what was queued is lost, as with any object dropped without close().
Loop.__gc = Loop.close

return M
