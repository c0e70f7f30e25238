-- A job has its result: say which, and let the record live as long as the answer.
-- KEYS[1] job record (hash)   ARGV[1] state   ARGV[2] lifetime of an answer, s   ARGV[3] error code
-- Returns 1, or 0 when there is no record (any more).
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], 'state', ARGV[1])
if ARGV[3] ~= '' then redis.call('HSET', KEYS[1], 'error', ARGV[3]) end
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
