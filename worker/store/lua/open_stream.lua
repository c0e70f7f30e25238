-- Counts a stream among those that are open for an API key, unless there are as many as it may
-- have. Those that their process has not renewed in time count no more.
-- ARGV[1] key id
-- ARGV[2] name of the stream
-- ARGV[3] most streams at once
-- ARGV[4] how long it counts without a renewal, ms
-- Returns 1, or 0 when there are too many.
-- uses: OPEN_STREAMS, clock, whole
local streams, name, most, kept_ms = OPEN_STREAMS .. ARGV[1], ARGV[2], ARGV[3] + 0, ARGV[4] + 0
local now = clock()

redis.call('ZREMRANGEBYSCORE', streams, '-inf', whole(now))
if not redis.call('ZSCORE', streams, name) and redis.call('ZCARD', streams) >= most then
  return 0
end
redis.call('ZADD', streams, whole(now + kept_ms), name)
redis.call('PEXPIRE', streams, kept_ms)
return 1
