-- Notes that the callers of these jobs have gone away without their answers.
-- ARGV[1] how long each job goes on, ms, so that its caller can come back with the same question
-- ARGV[2..] task ids
-- Returns how many there are.
-- uses: ATTENDED, ORPHANS, clock, whole
local left_ms, ids = ARGV[1], {unpack(ARGV, 2)}
local ends = whole(clock() + left_ms)

for _, id in ipairs(ids) do
  redis.call('ZREM', ATTENDED, id)
  redis.call('ZADD', ORPHANS, ends, id)
end
return #ids
