-- Notes that a process holds the connections of the callers of these jobs, whoever else has left
-- them: a reader of the same text at another process, for one.
-- ARGV[1] how long that holds without another call, ms
-- ARGV[2..] task ids
-- Returns how many there are.
-- uses: ATTENDED, ORPHANS, clock, whole
local kept_ms, ids = ARGV[1], {unpack(ARGV, 2)}
local ends = whole(clock() + kept_ms)

redis.call('ZREM', ATTENDED, '')  -- a first write that needs no memory, as in renew.lua
for _, id in ipairs(ids) do
  redis.call('ZREM', ORPHANS, id)
  redis.call('ZADD', ATTENDED, ends, id)
end
return #ids
