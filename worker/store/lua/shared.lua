-- What several moves have in common. script.py puts those functions that a script uses, and the names
-- of names.py that it uses, before it. Times are ms of Redis's own clock.

local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function whole(number) return string.format('%.0f', number) end

-- A held or joined message is kept as kombu keeps it: '[' message, exchange, queue ']'. It is never
-- re-encoded: cjson would turn [] into {}.
local function opened(entry)
  local queue = string.match(entry, ', "", "([^"]*)"%]$')
  return string.sub(entry, 2, -(string.len(', "", "' .. queue .. '"]') + 1)), queue
end

local function ring()
  redis.call('LPUSH', DOORBELL, '1')
  redis.call('LTRIM', DOORBELL, 0, DOORBELL_MOST - 1)
end

-- A key lives at least until then.
local function keep(key, until_ms, now)
  if redis.call('PTTL', key) < until_ms - now then
    redis.call('PEXPIREAT', key, whole(until_ms))
  end
end

local function end_delivery(tag)
  redis.call('HDEL', UNACKED, tag)
  redis.call('ZREM', UNACKED_INDEX, tag)
  redis.call('HDEL', UNACKED_JOBS, tag)
end

-- Put a message at the head of its queue, or of the queue's suspects when a worker died with it.
local function put_back(record, entry)
  local raw, queue = opened(entry)
  local suspect = redis.call('HEXISTS', record, 'crashes') == 1
  redis.call('RPUSH', (suspect and QUARANTINE or QUEUE_LIST) .. queue, raw)
  redis.call('HSET', record, 'state', 'queued')
  ring()
end

local function defer(id, record, entry, due)
  redis.call('HSET', DEFERRED_MESSAGES, id, (opened(entry)))
  redis.call('ZADD', DEFERRED, whole(due), id)
  redis.call('HSET', record, 'state', 'deferred')
end

local function at_least(record, field, number)
  if number > tonumber(redis.call('HGET', record, field) or 0) then
    redis.call('HSET', record, field, number)
  end
end

-- --- Flights: jobs of one fingerprint, of which one runs ------------------------------------------
-- noted     zset job → deadline: all who wait for the answer, in whatever queue they are
-- flight    hash leader, token: who runs; true while that job is held under that token
-- joined    hash job → message: those that were taken and wait for the leader; only while there is
--           one: when it goes without a result, land() puts them back

local function leads(fingerprint, id, token)
  local seen = redis.call('HMGET', GROUP .. fingerprint, 'leader', 'token')
  return seen[1] == id and seen[2] == token
end

-- The job that runs for a fingerprint, or nil. One that is being stopped does not count.
local function leader_of(fingerprint)
  local seen = redis.call('HMGET', GROUP .. fingerprint, 'leader', 'token')
  if not seen[1] then return nil end
  local record = redis.call('HMGET', JOB_RECORD .. seen[1], 'token', 'cancelled')
  if record[1] ~= seen[2] or record[2] then return nil end
  return seen[1]
end

local function others_wait(fingerprint, id)
  local waiting = redis.call('ZCARD', WAITERS .. fingerprint)
  if redis.call('ZSCORE', WAITERS .. fingerprint, id) then waiting = waiting - 1 end
  return waiting > 0
end

local function add_waiter(fingerprint, id, deadline, kept_ms, now)
  redis.call('ZADD', WAITERS .. fingerprint, deadline, id)
  keep(WAITERS .. fingerprint, tonumber(deadline) + kept_ms, now)
  -- The leader runs to the latest deadline, and its record has to last as long.
  local leader = redis.call('HGET', GROUP .. fingerprint, 'leader')
  if leader and leader ~= id then keep(JOB_RECORD .. leader, tonumber(deadline) + kept_ms, now) end
end

-- All who wait share a try or a crash, wherever they are: they are the same work.
local function share(fingerprint, id, field, number)
  for _, waiting in ipairs(redis.call('ZRANGE', WAITERS .. fingerprint, 0, -1)) do
    if waiting ~= id and redis.call('EXISTS', JOB_RECORD .. waiting) == 1 then
      at_least(JOB_RECORD .. waiting, field, number)
    end
  end
end

-- A job waits no more. A generation whose own caller wants it no more stops with the last.
local function detach(fingerprint, id)
  redis.call('ZREM', WAITERS .. fingerprint, id)
  redis.call('HDEL', FOLLOWERS .. fingerprint, id)
  local leader = leader_of(fingerprint)
  if not leader or leader == id or others_wait(fingerprint, leader) then return end
  local wanted = redis.call('HMGET', JOB_RECORD .. leader, 'caller_left', 'cancel_requested')
  if wanted[1] or wanted[2] then
    redis.call('HSET', JOB_RECORD .. leader, 'cancelled', '1')
    redis.call('PUBLISH', CANCEL_CHANNEL, leader)
  end
end

-- The leader goes without a result: its joined jobs go back to their queues, the oldest first, or
-- with `due` among the deferred. They share its tries and its crashes.
local function disband(fingerprint, due, attempts, crashes)
  local joined = redis.call('HGETALL', FOLLOWERS .. fingerprint)
  redis.call('DEL', FOLLOWERS .. fingerprint, GROUP .. fingerprint)
  local back = {}
  for place = 1, #joined, 2 do
    local record = JOB_RECORD .. joined[place]
    local seen = redis.call('HMGET', record, 'settled', 'submitted_ms')
    if not seen[1] then
      table.insert(back, {joined[place], record, joined[place + 1], tonumber(seen[2] or 0)})
    end
  end
  table.sort(back, function(one, other) return one[4] > other[4] end)
  for _, job in ipairs(back) do
    if attempts then at_least(job[2], 'attempts', attempts) end
    if crashes then at_least(job[2], 'crashes', crashes) end
    if due then defer(job[1], job[2], job[3], due) else put_back(job[2], job[3]) end
  end
end

-- --- Counts of the whole service ------------------------------------------------------------------

local function count(field, number)
  if number ~= 0 then redis.call('HINCRBY', STATS, field, whole(number)) end
end

-- One job has ended: `origin` hits, misses or joined; `took_ms` since its submit, where known; the
-- tokens of its answer.
local function count_end(origin, answered, took_ms, prompt_tokens, completion_tokens)
  count(origin, 1)
  if answered then
    if took_ms then
      count('latency_ms', took_ms)
      count('timed', 1)
    end
    count('delivered_prompt_tokens', prompt_tokens)
    count('delivered_completion_tokens', completion_tokens)
  end
  redis.call('EXPIRE', STATS, STATS_SECONDS)
end
