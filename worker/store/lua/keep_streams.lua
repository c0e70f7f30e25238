-- Renews the open streams of an API key that one process holds.
-- ARGV[1] key id
-- ARGV[2] how long they count without another renewal, ms
-- ARGV[3..] names of streams
-- Returns how many there are.
-- uses: OPEN_STREAMS, clock, whole
local streams, kept_ms, names = OPEN_STREAMS .. ARGV[1], ARGV[2], {unpack(ARGV, 3)}
local ends = whole(clock() + kept_ms)

redis.call('ZREM', streams, '')  -- a first write that needs no memory, as in renew.lua
for _, name in ipairs(names) do
  redis.call('ZADD', streams, ends, name)
end
redis.call('PEXPIRE', streams, kept_ms)
return #names
