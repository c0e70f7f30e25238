-- Move deferred messages whose time has come to the head of their own queues, up to a limit.
-- KEYS[1] deferred (zset)   KEYS[2] deferred messages (hash)   KEYS[3] doorbell (list)
-- ARGV[1] most to move   ARGV[2] prefix of job records   ARGV[3] most rings
-- ARGV[4] queue of a message without a record   ARGV[5] prefix of lists of suspects
-- Returns how many were moved.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now),
  'LIMIT', 0, ARGV[1])
for _, id in ipairs(due) do
  local raw = redis.call('HGET', KEYS[2], id)
  redis.call('ZREM', KEYS[1], id)
  redis.call('HDEL', KEYS[2], id)
  local record = ARGV[2] .. id
  if raw and redis.call('HEXISTS', record, 'settled') == 0 then
    local queue = redis.call('HGET', record, 'queue') or ARGV[4]
    local list = queue
    if redis.call('HEXISTS', record, 'crashes') == 1 then list = ARGV[5] .. queue end
    redis.call('RPUSH', list, raw)
    if redis.call('EXISTS', record) == 1 then redis.call('HSET', record, 'state', 'queued') end
    redis.call('LPUSH', KEYS[3], '1')
  end
end
redis.call('LTRIM', KEYS[3], 0, tonumber(ARGV[3]) - 1)
return #due
