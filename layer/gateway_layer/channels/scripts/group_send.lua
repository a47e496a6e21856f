-- Give one entry to each living process with members of a group, and to its plain channels, where
-- all keys are on one server.
--
-- The lists are known from the group alone, so they are not among KEYS: not for a cluster.
--
-- KEYS[1]  {g:GROUP}  zset  process, or @channel for a plain one -> when it was noted, ms
-- ARGV[1]  what was noted before has expired, ms since 1970
-- ARGV[2]  expiry of the entry, ms
-- ARGV[3]  how many entries an inbox may hold
-- ARGV[4]  prefix of keys
-- ARGV[5]  entry
-- ARGV[6…] plain channels that do not get it
-- Returns  {number of members, inboxes that were full, what the caller has to look at}: for each
--          process that seems to be gone {process, 0}, for each plain channel {@channel, length of
--          its list, or the error}
local members = redis.call('ZRANGE', KEYS[1], ARGV[1], '+inf', 'BYSCORE')
local excluded = {}
for index = 6, #ARGV do
  excluded['@' .. ARGV[index]] = true
end
local full = 0
local left = {}
for _, member in ipairs(members) do
  local own = ARGV[4] .. ':{' .. member .. '}:'
  if member:sub(1, 1) == '@' then
    if not excluded[member] then
      local list = ARGV[4] .. ':{q:' .. member:sub(2) .. '}'
      local length = redis.pcall('RPUSH', list, ARGV[5])
      if type(length) == 'number' then
        redis.call('PEXPIRE', list, ARGV[2])
      end
      left[#left + 1] = {member, length}
    end
  elseif redis.call('EXISTS', own .. 'up') == 0 then
    left[#left + 1] = {member, 0}
  elseif redis.call('RPUSH', own .. 'in', ARGV[5]) > tonumber(ARGV[3]) then
    redis.call('RPOP', own .. 'in')
    full = full + 1
  else
    redis.call('PEXPIRE', own .. 'in', ARGV[2])
  end
end
return {#members, full, left}
