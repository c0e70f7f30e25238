-- Pop one message and take custody of it, in one step: it is in a queue, or held, never neither.
-- KEYS[1] unacked (hash)   KEYS[2] its index (zset)   KEYS[3] held (hash)   KEYS[4] fence
-- KEYS[5] doorbell (list)   KEYS[6] unreadable (list)   KEYS[7] deadlines (zset)
-- KEYS[8] the last take of this worker (hash)
-- KEYS[9..] queues, most urgent first, each after the list of its suspects
-- ARGV[1] worker   ARGV[2] 1 if it may take a suspect   ARGV[3] default deadline, ms from now
-- ARGV[4] lifetime of an answer, s   ARGV[5] prefix of job records   ARGV[6] most unreadable kept
-- ARGV[7] nonce of this take: one that is repeated, as its reply was lost, gets the same message
-- ARGV[8..] queue names, one for each key from 9 on
-- Returns nil, or {queue, message, task id, delivery tag, fence token, ms queued or -1, ms left,
-- attempts so far, crashes so far, cancelled}. The message is never re-encoded.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function reply(record, raw, queue, id, tag, token)
  local seen = redis.call('HMGET', record, 'submitted_ms', 'attempts', 'crashes', 'cancelled',
    'deadline_ms')
  local queued = -1
  if seen[1] then queued = math.max(0, now - tonumber(seen[1])) end
  return {queue, raw, id, tag, token, queued, tonumber(seen[5]) - now,
    tonumber(seen[2] or 0), tonumber(seen[3] or 0), seen[4] and 1 or 0}
end

local last = redis.call('HMGET', KEYS[8], 'nonce', 'id', 'token')
if last[1] == ARGV[7] and last[2] then
  local record = ARGV[5] .. last[2]
  local seen = redis.call('HMGET', record, 'token', 'tag')
  local entry = seen[1] == last[3] and redis.call('HGET', KEYS[1], seen[2])
  if entry then
    local queue = string.match(entry, ', "", "([^"]*)"%]$')
    local raw = string.sub(entry, 2, -(string.len(', "", "' .. queue .. '"]') + 1))
    return reply(record, raw, queue, last[2], seen[2], tonumber(seen[1]))
  end
end

local function custody(raw, message, queue)
  local tag, id = message.properties.delivery_tag, message.headers.id
  local task = type(message.headers.task) == 'string' and message.headers.task or ''
  local record = ARGV[5] .. id
  -- It was admitted and its record is gone: it has ended long ago, or its caller was told that it
  -- was never queued.
  if message.headers.llm_submitted and redis.call('EXISTS', record) == 0 then return nil end
  -- It has its result, or somebody holds it: this is a second copy of the message.
  local ended = redis.call('HMGET', record, 'settled', 'tag')
  if ended[1] or (ended[2] and redis.call('HEXISTS', KEYS[1], ended[2]) == 1) then return nil end
  local token = redis.call('INCR', KEYS[4])
  redis.call('ZADD', KEYS[2], string.format('%.3f', now / 1000), tag)
  redis.call('HSET', KEYS[1], tag, '[' .. raw .. ', "", "' .. queue .. '"]')
  redis.call('HSET', KEYS[3], tag, id)
  local deadline = redis.call('HGET', record, 'deadline_ms')
  if not deadline then  -- sent by name, by another app
    deadline = string.format('%.0f', now + tonumber(ARGV[3]))
    redis.call('HSET', record, 'kind', string.sub(task, 5),
      'deadline_ms', deadline)
    redis.call('ZADD', KEYS[7], deadline, id)
  end
  redis.call('PEXPIRE', record, string.format('%.0f',
    math.max(0, tonumber(deadline) - now) + tonumber(ARGV[4]) * 1000))
  redis.call('HSET', record, 'state', 'running', 'queue', queue, 'worker', ARGV[1],
    'token', token, 'tag', tag)
  redis.call('HINCRBY', record, 'starts', 1)
  redis.call('HSET', KEYS[8], 'nonce', ARGV[7], 'id', id, 'token', token)
  redis.call('EXPIRE', KEYS[8], 3600)
  return reply(record, raw, queue, id, tag, token)
end

local function more()
  for place = 9, #KEYS do
    if redis.call('LLEN', KEYS[place]) > 0 then
      if redis.call('LLEN', KEYS[5]) == 0 then redis.call('LPUSH', KEYS[5], '1') end
      return
    end
  end
end

for place = 9, #KEYS do
  local suspects = (place - 9) % 2 == 0
  if not suspects or ARGV[2] == '1' then
    for _ = 1, 1000 do  -- settled and unreadable ones are dropped on the way
      local raw = redis.call('RPOP', KEYS[place])
      if not raw then break end
      local ok, message = pcall(cjson.decode, raw)
      if ok and type(message) == 'table' and type(message.headers) == 'table'
          and type(message.headers.id) == 'string' and type(message.properties) == 'table'
          and type(message.properties.delivery_tag) == 'string' then
        local taken = custody(raw, message, ARGV[place - 1])
        if taken then
          more()
          return taken
        end
      else
        redis.call('LPUSH', KEYS[6], raw)
        redis.call('LTRIM', KEYS[6], 0, tonumber(ARGV[6]) - 1)
      end
    end
  end
end
return nil
