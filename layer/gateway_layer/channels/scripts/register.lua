-- Note how many members of a group a process has; none takes it out of the group.
--
-- KEYS[1]  {g:GROUP}    zset  process, or @channel for a plain one -> when it was noted, ms
-- KEYS[2]  {g:GROUP}:n  hash  the same -> number of members
-- ARGV[1]  process
-- ARGV[2]  when, ms since 1970: what was noted later stays
-- ARGV[3]  number of members
-- ARGV[4]  group_expiry, ms
-- ARGV[5]  NX: the process itself knows better what is noted already; else empty
local noted = redis.call('ZSCORE', KEYS[1], ARGV[1])
if noted and (ARGV[5] == 'NX' or tonumber(noted) > tonumber(ARGV[2])) then
  return 0
end
if ARGV[3] == '0' then
  redis.call('ZREM', KEYS[1], ARGV[1])
  redis.call('HDEL', KEYS[2], ARGV[1])
  return 1
end
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
return 1
