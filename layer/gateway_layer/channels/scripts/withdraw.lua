-- Take back messages that were appended to a channel's list beyond its capacity.
--
-- KEYS[1]  list    messages, msgpack [expiry in ms since 1970, …]: an array's head of one byte,
--                  0xcf, 8 bytes (cmsgpack does not know the bin types of what follows)
-- ARGV[1]  now, ms since 1970
-- ARGV[2]  how many messages the list may hold
-- ARGV[3…] messages that were appended together, the last one first
-- Returns  how many were taken back, the first of them
local over = redis.call('LLEN', KEYS[1]) - tonumber(ARGV[2])
while over > 0 do
  -- What has expired takes no room. Messages expire in the order in which they came.
  local oldest = redis.call('LINDEX', KEYS[1], 0)
  if not oldest or #oldest < 10 or struct.unpack('>I8', oldest:sub(3, 10)) > tonumber(ARGV[1]) then
    break
  end
  redis.call('LPOP', KEYS[1])
  over = over - 1
end
local back = 0
for index = 3, #ARGV do
  -- What is not there any more was read meanwhile, and all before it.
  if back >= over or redis.call('LREM', KEYS[1], -1, ARGV[index]) == 0 then
    break
  end
  back = back + 1
end
return back
