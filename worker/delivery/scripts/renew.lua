-- Renew the leases of all messages that a worker holds.
-- KEYS[1] index of unacked (zset)
-- ARGV[1] prefix of job records   then triples: task id, delivery tag, fence token
-- Returns {tokens under which nothing is held any more, tokens of jobs that somebody cancelled}.
local time = redis.call('TIME')
local now = string.format('%.3f', time[1] + time[2] / 1000000)
-- A write that frees memory first: Redis refuses a script when its first write may need more, and
-- leases must go on when it is full.
redis.call('ZREM', KEYS[1], '')
local lost, cancelled = {}, {}
for place = 2, #ARGV, 3 do
  local record = ARGV[1] .. ARGV[place]
  local seen = redis.call('HMGET', record, 'token', 'cancelled')
  if seen[1] == ARGV[place + 2] then
    redis.call('ZADD', KEYS[1], 'XX', now, ARGV[place + 1])
    if seen[2] then table.insert(cancelled, ARGV[place + 2]) end
  else
    table.insert(lost, ARGV[place + 2])
  end
end
return {lost, cancelled}
