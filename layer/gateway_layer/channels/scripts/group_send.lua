-- Give one entry to each living process with members of a group, where all keys are on one server.
--
-- The inboxes are known from the group alone, so they are not among KEYS: not for a cluster.
--
-- KEYS[1]  {g:GROUP}  zset  process, or @channel for a plain one -> when it was noted, ms
-- ARGV[1]  what was noted before has expired, ms since 1970
-- ARGV[2]  expiry of the entry, ms
-- ARGV[3]  how many entries an inbox may hold
-- ARGV[4]  prefix of keys
-- ARGV[5]  entry
-- Returns  {number of members, inboxes that were full, members left to the caller}: those that
--          seem to be gone, and plain channels
local members = redis.call('ZRANGE', KEYS[1], ARGV[1], '+inf', 'BYSCORE')
local full = 0
local left = {}
for _, member in ipairs(members) do
  local own = ARGV[4] .. ':{' .. member .. '}:'
  if member:sub(1, 1) == '@' or redis.call('EXISTS', own .. 'up') == 0 then
    left[#left + 1] = member
  elseif redis.call('RPUSH', own .. 'in', ARGV[5]) > tonumber(ARGV[3]) then
    redis.call('RPOP', own .. 'in')
    full = full + 1
  else
    redis.call('PEXPIRE', own .. 'in', ARGV[2])
  end
end
return {#members, full, left}
