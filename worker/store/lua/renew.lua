-- Renews the leases of all messages that a worker holds.
-- ARGV[1..] triples of task id, delivery tag, fencing token
-- Returns {tokens under which the worker holds nothing any more, tokens of cancelled jobs}.
-- uses: JOB_RECORD, UNACKED_INDEX, clock
local now = string.format('%.3f', clock() / 1000)
-- A write that frees memory comes first: Redis refuses a script when its first write may need more,
-- and leases must go on when it is full.
redis.call('ZREM', UNACKED_INDEX, '')
local lost, cancelled = {}, {}
for place = 1, #ARGV, 3 do
  local id, tag, token = ARGV[place], ARGV[place + 1], ARGV[place + 2]
  local holder, is_cancelled = unpack(redis.call('HMGET', JOB_RECORD .. id, 'token', 'cancelled'))
  if holder == token then
    redis.call('ZADD', UNACKED_INDEX, 'XX', now, tag)
    if is_cancelled then table.insert(cancelled, token) end
  else
    table.insert(lost, token)
  end
end
return {lost, cancelled}
