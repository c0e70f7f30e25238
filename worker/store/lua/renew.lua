-- Renew the leases of all messages that a worker holds.
-- ARGV: triples of task id, delivery tag, fence token
-- Returns {tokens under which nothing is held any more, tokens of jobs that somebody cancelled}.
local now = string.format('%.3f', clock() / 1000)
-- A write that frees memory first: Redis refuses a script when its first write may need more, and
-- leases must go on when it is full.
redis.call('ZREM', UNACKED_INDEX, '')
local lost, cancelled = {}, {}
for place = 1, #ARGV, 3 do
  local seen = redis.call('HMGET', JOB_RECORD .. ARGV[place], 'token', 'cancelled')
  if seen[1] == ARGV[place + 2] then
    redis.call('ZADD', UNACKED_INDEX, 'XX', now, ARGV[place + 1])
    if seen[2] then table.insert(cancelled, ARGV[place + 2]) end
  else
    table.insert(lost, ARGV[place + 2])
  end
end
return {lost, cancelled}
