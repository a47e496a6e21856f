-- Append messages to a channel's list, as many as its capacity leaves room for.
--
-- KEYS[1]  list    messages, msgpack [expiry in ms since 1970, …]: an array's head of one byte,
--                  0xcf, 8 bytes (cmsgpack does not know the bin types of what follows)
-- ARGV[1]  now, ms since 1970
-- ARGV[2]  expiry of a message, ms; the list goes when its last one has expired
-- ARGV[3]  how many messages the list may hold
-- ARGV[4…] messages, at most 1,000
-- Returns  how many were taken, the first ones
local wanted = #ARGV - 3
local room = tonumber(ARGV[3]) - redis.call('LLEN', KEYS[1])
while room < wanted do
  -- What has expired takes no room. Messages expire in the order in which they came.
  local oldest = redis.call('LINDEX', KEYS[1], 0)
  if not oldest or struct.unpack('>I8', oldest:sub(3, 10)) > tonumber(ARGV[1]) then
    break
  end
  redis.call('LPOP', KEYS[1])
  room = room + 1
end
local taken = math.max(0, math.min(room, wanted))
if taken > 0 then
  redis.call('RPUSH', KEYS[1], unpack(ARGV, 4, 3 + taken))
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return taken
