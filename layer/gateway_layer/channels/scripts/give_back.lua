-- Put a message that nobody took after all back to the front of its channel's list.
--
-- KEYS[1]  list  messages
-- ARGV[1]  expiry of a message, ms
-- ARGV[2]  message
redis.call('LPUSH', KEYS[1], ARGV[2])
return redis.call('PEXPIRE', KEYS[1], ARGV[1])
