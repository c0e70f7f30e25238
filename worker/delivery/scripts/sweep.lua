-- Take messages away from workers that have not renewed their lease: a crash each.
-- KEYS[1] unacked (hash)   KEYS[2] its index (zset)   KEYS[3] held (hash)   KEYS[4] doorbell (list)
-- KEYS[5] dead letters (zset)   KEYS[6] dead messages (hash)   KEYS[7] unanswered (set)
-- ARGV[1] lease, seconds   ARGV[2] crashes at which a job is given up   ARGV[3] most to sweep
-- ARGV[4] prefix of job records   ARGV[5] prefix of lists of suspects   ARGV[6] most rings
-- Returns the ids that were swept. One that is given up goes to the dead letters; who sweeps stores
-- its failure (it stays among the unanswered until that is done).
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local expired = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf',
  string.format('%.3f', now - tonumber(ARGV[1])), 'LIMIT', 0, ARGV[3])
local swept = {}
for _, tag in ipairs(expired) do
  local entry, id = redis.call('HGET', KEYS[1], tag), redis.call('HGET', KEYS[3], tag)
  redis.call('HDEL', KEYS[1], tag)
  redis.call('ZREM', KEYS[2], tag)
  redis.call('HDEL', KEYS[3], tag)
  local record = ARGV[4] .. (id or '')
  if entry and id and redis.call('HEXISTS', record, 'settled') == 0
      and redis.call('HGET', record, 'tag') == tag then
    local queue = string.match(entry, ', "", "([^"]*)"%]$')
    local raw = string.sub(entry, 2, -(string.len(', "", "' .. queue .. '"]') + 1))
    local crashes = redis.call('HINCRBY', record, 'crashes', 1)
    redis.call('HDEL', record, 'token', 'tag', 'worker')
    if redis.call('PTTL', record) == -1 then redis.call('EXPIRE', record, 86400) end
    local most = tonumber(ARGV[2])
    -- One that others wait for in a canvas is given to a worker once more, to fail there: only with
    -- the message in hand can Celery tell a chord or the next steps of a chain.
    if redis.call('HEXISTS', record, 'canvas') == 1 then most = most + 1 end
    if crashes >= most then
      redis.call('ZADD', KEYS[5], string.format('%.0f', now * 1000), id)
      redis.call('HSET', KEYS[6], id, raw)
      redis.call('SADD', KEYS[7], id)
      redis.call('HSET', record, 'state', 'failed', 'error', 'crashed_too_often')
    else
      redis.call('LPUSH', ARGV[5] .. queue, raw)
      redis.call('HSET', record, 'state', 'queued')
      redis.call('LPUSH', KEYS[4], '1')
    end
    table.insert(swept, id)
  end
end
redis.call('LTRIM', KEYS[4], 0, tonumber(ARGV[6]) - 1)
return swept
