-- Every Lua example runs to its end.
local passed, failed = 0, 0
for _, name in ipairs { "01_survive_a_rebind", "02_migrate_by_command" } do
  if os.execute("lua5.4 examples/lua/" .. name .. ".lua") then
    passed = passed + 1
  else
    failed = failed + 1
    print("FAIL " .. name)
  end
end
print(("%d passed, %d failed"):format(passed, failed))
os.exit(failed == 0 and 0 or 1)
