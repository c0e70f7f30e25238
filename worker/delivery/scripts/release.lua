-- Put a held message back: at the head of its queue, or among the deferred until it is due.
-- KEYS[1] job record (hash)   KEYS[2] unacked (hash)   KEYS[3] its index (zset)   KEYS[4] held (hash)
-- KEYS[5] doorbell (list)   KEYS[6] deferred (zset)   KEYS[7] deferred messages (hash)
-- ARGV[1] task id   ARGV[2] fence token   ARGV[3] delay, ms; 0 = back to the queue
-- ARGV[4] 1 if this counts as a try   ARGV[5] most rings   ARGV[6] prefix of lists of suspects
-- Returns 1, or 0 when the message is not held under this token (any more).
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[2] then return 0 end
local tag = redis.call('HGET', KEYS[1], 'tag')
local entry = redis.call('HGET', KEYS[2], tag)
if not entry then return 0 end
local queue = string.match(entry, ', "", "([^"]*)"%]$')
local raw = string.sub(entry, 2, -(string.len(', "", "' .. queue .. '"]') + 1))
redis.call('HDEL', KEYS[2], tag)
redis.call('ZREM', KEYS[3], tag)
redis.call('HDEL', KEYS[4], tag)
redis.call('HDEL', KEYS[1], 'token', 'tag', 'worker')
if ARGV[4] == '1' then redis.call('HINCRBY', KEYS[1], 'attempts', 1) end
local delay = tonumber(ARGV[3])
if delay > 0 then
  local time = redis.call('TIME')
  local due = time[1] * 1000 + math.floor(time[2] / 1000) + delay
  redis.call('HSET', KEYS[7], ARGV[1], raw)
  redis.call('ZADD', KEYS[6], string.format('%.0f', due), ARGV[1])
  redis.call('HSET', KEYS[1], 'state', 'deferred')
  return 1
end
local list = queue
if redis.call('HEXISTS', KEYS[1], 'crashes') == 1 then list = ARGV[6] .. queue end
redis.call('RPUSH', list, raw)
redis.call('HSET', KEYS[1], 'state', 'queued')
redis.call('LPUSH', KEYS[5], '1')
redis.call('LTRIM', KEYS[5], 0, tonumber(ARGV[5]) - 1)
return 1
