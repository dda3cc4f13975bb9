-- Every Lua example runs to its end.
local passed, failed = 0, 0
for name in assert(io.popen("ls examples/lua/*.lua")):lines() do
  if os.execute("lua5.4 " .. name) then
    passed = passed + 1
  else
    failed = failed + 1
    print("FAIL " .. name)
  end
end
assert(passed + failed > 1)
print(("%d passed, %d failed"):format(passed, failed))
os.exit(failed == 0 and 0 or 1)
