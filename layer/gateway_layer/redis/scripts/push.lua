-- Append entries to what other services push to one process, if that process is alive.
--
-- KEYS[1]  {PID}:up    string  the lease; exists while the process lives
-- KEYS[2]  {PID}:push  list    entries for the process
-- ARGV[1]  expiry of the list in s
-- ARGV[2]  how many entries the list may hold
-- ARGV[3]  {p}:inc, as renew.lua keeps it (not among KEYS: it is only read)
-- ARGV[4…] entries
-- Returns  the length of the list, -1 if the process is gone, -2 if the list is full; if the process
--          is not known, -3 if Redis was away and may not know all yet, -4 if it knows none at all
if redis.call('EXISTS', KEYS[1]) == 0 then
  local inc = redis.call('GET', ARGV[3])
  if not inc then
    return -4
  end
  local age = redis.call('TIME')[1] - (tonumber(inc:match('%.(%d+)$')) or 0) / 1000
  return age > -1 and age < 5 and -3 or -1
end
if redis.call('LLEN', KEYS[2]) + #ARGV - 3 > tonumber(ARGV[2]) then
  return -2
end
local length = 0
for index = 4, #ARGV do
  length = redis.call('RPUSH', KEYS[2], ARGV[index])
end
redis.call('EXPIRE', KEYS[2], ARGV[1])
return length
