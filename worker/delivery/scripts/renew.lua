-- Renew the leases of all messages that a worker holds.
-- KEYS[1] index of unacked (zset)
-- ARGV[1] prefix of job records   then triples: task id, delivery tag, fence token
-- Returns {ids that are not held under their token any more, ids that somebody cancelled}.
local time = redis.call('TIME')
local now = string.format('%.3f', time[1] + time[2] / 1000000)
local lost, cancelled = {}, {}
for place = 2, #ARGV, 3 do
  local record = ARGV[1] .. ARGV[place]
  local seen = redis.call('HMGET', record, 'token', 'cancelled')
  if seen[1] == ARGV[place + 2] then
    redis.call('ZADD', KEYS[1], 'XX', now, ARGV[place + 1])
    if seen[2] then table.insert(cancelled, ARGV[place]) end
  else
    table.insert(lost, ARGV[place])
  end
end
return {lost, cancelled}
