-- A NAT in user space that rebinds on command.
local core = require "roamqtt.core"
local shared = require "roamqtt.shared"
local members_of, fill, check_options, struct, with_port, failure, class, join, collect, leave =
  shared.members_of, shared.fill, shared.check_options, shared.struct, shared.with_port, shared.failure, shared.class,
  shared.join, shared.collect, shared.leave

local M = {}

local Nat = class()

local NAT_OWN = { loop = "table", inside = "string", server = "string", address = "string" }
local NAT = members_of("delay_ns jitter_ns loss_ppm rate_bytes_s idle_udp_ns idle_tcp_ns mappings_max hanging_max tcp_buffer_bytes", "number",
  members_of("udp tcp", "boolean", members_of("inside server address", "string", {
    loop = "table",
    filtering = {
      endpoint_independent = core.FILTERING_ENDPOINT_INDEPENDENT, address_dependent = core.FILTERING_ADDRESS_DEPENDENT,
      address_and_port_dependent = core.FILTERING_ADDRESS_AND_PORT_DEPENDENT,
    },
  })))
local NAT_STATS = "udp_mappings tcp_mappings rebinds resets datagrams bytes lost hanging" -- datagrams, bytes, lost: { out, in }

--- A NAT in user space. Required: loop, server ("127.0.0.1:14567"), address (the public one, "127.0.10.200"). Clients connect to
-- nat:inside(). Other options have the names of roam_relay_options (roamqtt/hop.h): delay_ns, jitter_ns, loss_ppm, rate_bytes_s, ...
function M.nat(options)
  check_options("nat", options, NAT)
  local o = core.relay_options()
  o.server, o.address, o.inside = options.server or "", options.address or "", with_port(options.inside or "127.0.0.1")
  local good, why, number = fill(o, options, NAT, NAT_OWN)
  if not good then
    return nil, why, number
  end
  local self = setmetatable({}, Nat)
  self.handle = core.make_relay(o)
  if not self.handle then
    return failure("ROAM_E_OPTION", "server and address are required, as 127.0.0.1:14567 and 127.0.10.200")
  end
  local joined, message, code = join(self, options.loop, core.loop_add_relay, core.loop_remove_relay, core.relay_free)
  if not joined then
    return nil, message, code
  end
  local bound = options.loop:run(5, function()
    return self:inside():find(":%d+$") and not self:inside():find(":0$")
  end)
  if not bound then
    self:close()
    return failure("ROAM_E_ADDRESS_IN_USE", "the NAT could not be bound")
  end
  return self
end

function Nat:_take(ev)
  if self.on_event then
    self.on_event(ev)
  end
end

function Nat:_collect()
  return collect(self, core.relay_poll)
end

--- Where clients connect: "127.0.0.1:40123".
function Nat:inside()
  return core.relay_inside(self.handle)
end

--- Forgets all mappings and takes another public address.
function Nat:rebind(address)
  return core.relay_rebind(self.handle, self.loop:now(), address)
end

--- One way, in ns; jitter is added on top, up to so much.
function Nat:set_delay(delay_ns, jitter_ns)
  core.relay_set_delay(self.handle, delay_ns, jitter_ns or 0)
end

--- 10000 is one datagram in a hundred.
function Nat:set_loss(loss_ppm)
  core.relay_set_loss(self.handle, loss_ppm)
end

--- Each way; 0: no limit.
function Nat:set_rate(rate_bytes_s)
  core.relay_set_rate(self.handle, rate_bytes_s)
end

--- All of roam_relay_stats under its names.
function Nat:stats()
  return struct(core.relay_get_stats(self.handle), NAT_STATS)
end

--- true: nothing passes.
function Nat:set_down(down)
  core.relay_set_down(self.handle, down)
end

--- Ends at once: what was on its way is lost.
function Nat:close()
  leave(self)
end


return M
