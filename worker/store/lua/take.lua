-- Pop one message and take custody of it, in one step: it is in a queue, or held, never neither.
-- ARGV[1] worker   ARGV[2] 1 if it may take a suspect   ARGV[3] default deadline, ms from now
-- ARGV[4] lifetime of an answer, s   ARGV[5] nonce of this take: one that is repeated, as its reply
-- was lost, gets the same message   ARGV[6..] queues, most urgent first; the quarantine of each before it
-- Returns nil, or {queue, message, task id, delivery tag, fence token, ms queued or -1, ms left,
-- attempts so far, crashes so far, cancelled}. The message is never re-encoded.
local now = clock()
local last_take = LAST_TAKE .. ARGV[1]

local function reply(record, raw, queue, id, tag, token)
  local seen = redis.call('HMGET', record, 'submitted_ms', 'attempts', 'crashes', 'cancelled',
    'deadline_ms')
  local queued = -1
  if seen[1] then queued = math.max(0, now - tonumber(seen[1])) end
  return {queue, raw, id, tag, token, queued, tonumber(seen[5]) - now,
    tonumber(seen[2] or 0), tonumber(seen[3] or 0), seen[4] and 1 or 0}
end

local last = redis.call('HMGET', last_take, 'nonce', 'id', 'token')
if last[1] == ARGV[5] and last[2] then
  local record = JOB_RECORD .. last[2]
  local seen = redis.call('HMGET', record, 'token', 'tag')
  local entry = seen[1] == last[3] and redis.call('HGET', UNACKED, seen[2])
  if entry then
    local raw, queue = opened(entry)
    return reply(record, raw, queue, last[2], seen[2], tonumber(seen[1]))
  end
end

local function deliver(raw, message, queue)
  local tag, id = message.properties.delivery_tag, message.headers.id
  local task = type(message.headers.task) == 'string' and message.headers.task or ''
  local record = JOB_RECORD .. id
  -- It was admitted and its record is gone: it has ended long ago, or its caller was told that it
  -- was never queued.
  if message.headers.llm_submitted and redis.call('EXISTS', record) == 0 then return nil end
  -- It has its result, or somebody holds it: this is a second copy of the message.
  local ended = redis.call('HMGET', record, 'settled', 'tag')
  if ended[1] or (ended[2] and redis.call('HEXISTS', UNACKED, ended[2]) == 1) then return nil end
  local token = redis.call('INCR', FENCE)
  redis.call('ZADD', UNACKED_INDEX, string.format('%.3f', now / 1000), tag)
  redis.call('HSET', UNACKED, tag, '[' .. raw .. ', "", "' .. queue .. '"]')
  redis.call('HSET', UNACKED_JOBS, tag, id)
  local deadline = redis.call('HGET', record, 'deadline_ms')
  if not deadline then  -- sent by name, by another app
    deadline = whole(now + tonumber(ARGV[3]))
    redis.call('HSET', record, 'kind', string.sub(task, 5),
      'deadline_ms', deadline)
    redis.call('ZADD', DEADLINES, deadline, id)
  end
  redis.call('PEXPIRE', record, whole(
    math.max(0, tonumber(deadline) - now) + tonumber(ARGV[4]) * 1000))
  redis.call('HSET', record, 'state', 'running', 'queue', queue, 'worker', ARGV[1],
    'token', token, 'tag', tag)
  redis.call('HINCRBY', record, 'starts', 1)
  redis.call('HSET', last_take, 'nonce', ARGV[5], 'id', id, 'token', token)
  redis.call('EXPIRE', last_take, 3600)
  return reply(record, raw, queue, id, tag, token)
end

local function more()
  for place = 6, #ARGV do
    local queue = ARGV[place]
    if redis.call('LLEN', QUARANTINE .. queue) + redis.call('LLEN', QUEUE_LIST .. queue) > 0 then
      if redis.call('LLEN', DOORBELL) == 0 then redis.call('LPUSH', DOORBELL, '1') end
      return
    end
  end
end

local function take_from(list, queue)
  for _ = 1, 1000 do  -- settled and unreadable ones are dropped on the way
    local raw = redis.call('RPOP', list)
    if not raw then return nil end
    local ok, message = pcall(cjson.decode, raw)
    if ok and type(message) == 'table' and type(message.headers) == 'table'
        and type(message.headers.id) == 'string' and type(message.properties) == 'table'
        and type(message.properties.delivery_tag) == 'string' then
      local taken = deliver(raw, message, queue)
      if taken then return taken end
    else
      redis.call('LPUSH', UNREADABLE, raw)
      redis.call('LTRIM', UNREADABLE, 0, UNREADABLE_MOST - 1)
    end
  end
end

for place = 6, #ARGV do
  local queue = ARGV[place]
  local taken = ARGV[2] == '1' and take_from(QUARANTINE .. queue, queue)
    or take_from(QUEUE_LIST .. queue, queue)
  if taken then
    more()
    return taken
  end
end
return nil
