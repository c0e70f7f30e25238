-- Notes that a process holds the connections of the callers of these jobs.
-- ARGV[1] how long that holds without another call, ms
-- ARGV[2..] task ids
-- Returns how many there are.
-- uses: ATTENDED, clock, whole
local kept_ms, ids = ARGV[1], {unpack(ARGV, 2)}
local ends = whole(clock() + kept_ms)

redis.call('ZREM', ATTENDED, '')  -- a first write that needs no memory, as in renew.lua
for _, id in ipairs(ids) do
  redis.call('ZADD', ATTENDED, ends, id)
end
return #ids
