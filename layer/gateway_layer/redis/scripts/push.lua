-- Append entries to what other services push to one process, if that process is alive.
--
-- KEYS[1]  {PID}:up    string  the lease; exists while the process lives
-- KEYS[2]  {PID}:push  list    entries for the process
-- ARGV[1]  expiry of the list in s
-- ARGV[2]  how many entries the list may hold
-- ARGV[3…] entries
-- Returns  the length of the list, -1 if the process is gone, -2 if the list is full
if redis.call('EXISTS', KEYS[1]) == 0 then
  return -1
end
if redis.call('LLEN', KEYS[2]) + #ARGV - 2 > tonumber(ARGV[2]) then
  return -2
end
local length = 0
for index = 3, #ARGV do
  length = redis.call('RPUSH', KEYS[2], ARGV[index])
end
redis.call('EXPIRE', KEYS[2], ARGV[1])
return length
