-- Append entries to what other services push to one process, if that process is alive.
--
-- KEYS[1]  {PID}:up    string  the lease; exists while the process lives
-- KEYS[2]  {PID}:push  list    entries for the process
-- ARGV[1]  expiry of the list in s
-- ARGV[2]  how many entries the list may hold
-- ARGV[3]  {p}:inc, as renew.lua keeps it (not among KEYS: it is only read)
-- ARGV[4…] entries
-- Returns  the length of the list, -2 if it is full; if the process is not known {-1, {p}:inc}, or
--          {-3, {p}:inc} while Redis may not know all processes again; no {p}:inc is an empty string
if redis.call('EXISTS', KEYS[1]) == 0 then
  local inc = redis.call('GET', ARGV[3]) or ''
  local left = (tonumber(inc:match('%.(%d+)$')) or 0) / 1000 - redis.call('TIME')[1]
  return {left > 0 and left < 60 and -3 or -1, inc}
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
