-- Store the result of a job, announce it and end all custody of its message, in one step, once.
-- KEYS[1] job record (hash)   KEYS[2] result (string, and the channel)   KEYS[3] unacked (hash)
-- KEYS[4] its index (zset)   KEYS[5] held (hash)   KEYS[6] deadlines (zset)
-- KEYS[7] unanswered (set)   KEYS[8] deferred (zset)   KEYS[9] deferred messages (hash)
-- KEYS[10] dead letters (zset)   KEYS[11] dead messages (hash)
-- ARGV[1] task id   ARGV[2] fence token; "" = only while no worker holds the job
-- ARGV[3] result   ARGV[4] its lifetime, s   ARGV[5] state   ARGV[6] error code or ""
-- ARGV[7] 1 if the message goes to the dead letters   ARGV[8] most dead letters
-- ARGV[9] their lifetime, ms
-- Returns 1; 0 when there is a result already; -1 when the token is not the holder's (any more).
local seen = redis.call('HMGET', KEYS[1], 'settled', 'token', 'tag')
if seen[1] then return 0 end
if ARGV[2] == '' and seen[2] then return -1 end
if ARGV[2] ~= '' and seen[2] ~= ARGV[2] then return -1 end
-- Before the SET, as in renew.lua: a Redis that is full takes the results of what runs.
redis.call('ZREM', KEYS[6], ARGV[1])
redis.call('SREM', KEYS[7], ARGV[1])
redis.call('SET', KEYS[2], ARGV[3], 'EX', ARGV[4])
redis.call('PUBLISH', KEYS[2], ARGV[3])
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('HSET', KEYS[1], 'settled', '1', 'state', ARGV[5])
  if ARGV[6] ~= '' then redis.call('HSET', KEYS[1], 'error', ARGV[6]) end
  redis.call('HDEL', KEYS[1], 'token', 'tag')
  redis.call('EXPIRE', KEYS[1], ARGV[4])
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local raw = redis.call('HGET', KEYS[9], ARGV[1])
if seen[3] then
  local entry = redis.call('HGET', KEYS[3], seen[3])
  if entry then
    local queue = string.match(entry, ', "", "([^"]*)"%]$')
    raw = string.sub(entry, 2, -(string.len(', "", "' .. queue .. '"]') + 1))
  end
  redis.call('HDEL', KEYS[3], seen[3])
  redis.call('ZREM', KEYS[4], seen[3])
  redis.call('HDEL', KEYS[5], seen[3])
end
redis.call('ZREM', KEYS[8], ARGV[1])
redis.call('HDEL', KEYS[9], ARGV[1])
if ARGV[7] == '1' and (raw or redis.call('HEXISTS', KEYS[11], ARGV[1]) == 1) then
  if raw then redis.call('HSET', KEYS[11], ARGV[1], raw) end
  redis.call('ZADD', KEYS[10], string.format('%.0f', now), ARGV[1])
  -- The record tells the kind, the error and the counts for as long as the letter is kept.
  redis.call('PEXPIRE', KEYS[1], ARGV[9])
end
local old = redis.call('ZRANGEBYSCORE', KEYS[10], '-inf', string.format('%.0f', now - ARGV[9]))
local over = redis.call('ZCARD', KEYS[10]) - tonumber(ARGV[8])
if over > 0 then
  for _, id in ipairs(redis.call('ZRANGE', KEYS[10], 0, over - 1)) do table.insert(old, id) end
end
for _, id in ipairs(old) do
  redis.call('ZREM', KEYS[10], id)
  redis.call('HDEL', KEYS[11], id)
end
return 1
