-- Move a process from the living to the dead. The caller has seen it end.
--
-- KEYS[1]  {p}:alive  zset  pid -> end of its lease, in ms
-- KEYS[2]  {p}:dead   zset  pid -> when its tombstone goes, in ms
-- ARGV[1]  pid
-- ARGV[2]  tombstone in ms; 0 leaves none (the process took its leave itself)
-- ARGV[3]  expiry of the keys in s
-- Returns  {live pids}
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
redis.call('ZREM', KEYS[1], ARGV[1])
if tonumber(ARGV[2]) > 0 then
  redis.call('ZADD', KEYS[2], now + tonumber(ARGV[2]), ARGV[1])
  redis.call('EXPIRE', KEYS[2], ARGV[3])
end
return redis.call('ZRANGE', KEYS[1], 0, -1)
