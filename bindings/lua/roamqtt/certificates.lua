-- Certificates for tests and first steps, made by the core.
local core = require "roamqtt.core"

local M = {}

local function identity(common_name, names, options, ca, ca_key)
  options = options or {}
  return core.make_identity(common_name, names or "localhost", options.days or 30, options.client or false, ca or "", ca_key or "")
end

--- A throw-away CA and a certificate by it, for tests and first steps: { ca_certificate =, ca_key =, certificate =, key = }, PEM. names:
-- DNS names and IP addresses, by commas. options: days (30), client (for a client).
function M.identity_make(common_name, names, options)
  return identity(common_name, names or "localhost,127.0.0.1,::1", options)
end

--- Another certificate by a CA that exists, such as a client's (client = true).
function M.identity_issue(ca_certificate, ca_key, common_name, names, options)
  return identity(common_name, names, options, ca_certificate, ca_key)
end

return M
