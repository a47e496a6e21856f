-- Renew one process's place among the living, and bury those whose lease has ended.
--
-- KEYS[1]  {p}:alive  zset  pid -> end of its lease, in ms of this server's clock
-- KEYS[2]  {p}:dead   zset  pid -> when its tombstone goes, in ms
-- KEYS[3]  {p}:inc    string, ID.MS: of this life of the data, and until when processes come back that
--                     were known before Redis lost it, or was away (0: none does)
-- KEYS[4]  {p}:renewed string, when any process renewed last, in ms
-- ARGV[1]  pid
-- ARGV[2]  lease in ms
-- ARGV[3]  proposed ID
-- ARGV[4]  tombstone in ms
-- ARGV[5]  expiry of the keys in s
-- ARGV[6]  the ID when this process last renewed, empty at first
-- Returns  {now in ms, ID, {dead pids}, {live pids}, 1 if ARGV[1] itself was found dead}
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local lease = tonumber(ARGV[2])
local inc = redis.call('GET', KEYS[3]) or ''
local id = inc:match('^[^.]+')
local renewed = tonumber(redis.call('GET', KEYS[4]) or now)
redis.call('SET', KEYS[4], now)
local away = now < renewed or now - renewed > lease / 2
if ARGV[6] ~= '' and (away or ARGV[6] ~= id) then
  -- Others, too, were here, and find it out when they renew: until then, who is not known is not
  -- gone.
  id = id or ARGV[3]
  local back = math.max(now + math.max(5000, 0.4 * lease), tonumber(inc:match('%.(%d+)$')) or 0)
  redis.call('SET', KEYS[3], id .. '.' .. string.format('%.0f', back))
elseif not id then
  id = ARGV[3]
  redis.call('SET', KEYS[3], id .. '.0')
end
if away then
  -- Nobody renewed for half a lease, though everybody does so each three tenths: this server was
  -- away, or goes on with what it had saved, or its clock jumped. That is nobody's death; whoever
  -- is dead does not renew the lease that it is given here. (After a whole lease it would be too
  -- late: the leases of those who renewed first have ended some time before.)
  for _, pid in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    redis.call('ZADD', KEYS[1], now + lease, pid)
  end
end
for _, pid in ipairs(redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE')) do
  if pid ~= ARGV[1] then
    redis.call('ZREM', KEYS[1], pid)
    redis.call('ZADD', KEYS[2], now + tonumber(ARGV[4]), pid)
  end
end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
local fenced = 0
if redis.call('ZSCORE', KEYS[2], ARGV[1]) then
  fenced = 1
else
  redis.call('ZADD', KEYS[1], now + lease, ARGV[1])
end
for _, key in ipairs(KEYS) do
  redis.call('EXPIRE', key, ARGV[5])
end
return {now, id, redis.call('ZRANGE', KEYS[2], 0, -1),
        redis.call('ZRANGE', KEYS[1], 0, -1), fenced}
