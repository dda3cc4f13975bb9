-- Every Lua example runs to its end.
local tests = {}
for name in assert(io.popen("ls examples/lua/*.lua")):lines() do
  tests[name] = function()
    assert(os.execute("lua5.4 " .. name))
  end
end
dofile "tests/lua/runner.lua"(tests)
