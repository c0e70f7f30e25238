-- End custody of a message that has no job (refused, unknown), if it is still held under its token.
-- KEYS[1] job record (hash)   KEYS[2] unacked (hash)   KEYS[3] its index (zset)   KEYS[4] held (hash)
-- ARGV[1] delivery tag   ARGV[2] fence token   Returns 1 or 0.
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('HDEL', KEYS[4], ARGV[1])
redis.call('HDEL', KEYS[1], 'token', 'tag')
return 1
