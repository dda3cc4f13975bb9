-- Runs a table of tests, name -> function, in the order of their names; says which fail and where, counts them, and ends the
-- process with the result as its status.
return function(tests)
  local names, failed = {}, 0
  for name in pairs(tests) do
    names[#names + 1] = name
  end
  table.sort(names)
  assert(#names > 0, "no tests")
  for _, name in ipairs(names) do
    local ok, message = xpcall(tests[name], debug.traceback)
    if not ok then
      failed = failed + 1
      print("FAIL " .. name .. "\n" .. message)
    end
  end
  print(("%d passed, %d failed"):format(#names - failed, failed))
  os.exit(failed == 0 and 0 or 1)
end
