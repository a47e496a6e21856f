-- Append one entry for all members of a group to the inbox of a process, if it lives.
--
-- KEYS[1]  {CLIENT}:in  list    inbox of the process
-- KEYS[2]  {CLIENT}:up  string  exists while the process lives
-- ARGV[1]  expiry of the entry, ms
-- ARGV[2]  how many entries the inbox may hold
-- ARGV[3]  entry
-- Returns  1, 0 if the inbox is full, -1 if the process is gone
if redis.call('EXISTS', KEYS[2]) == 0 then
  return -1
end
if redis.call('LLEN', KEYS[1]) >= tonumber(ARGV[2]) then
  return 0
end
redis.call('RPUSH', KEYS[1], ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
