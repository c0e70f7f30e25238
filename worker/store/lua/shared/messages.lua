-- A job's message: waiting in a queue, deferred, or held by a worker.
-- A held or set-aside message is an entry as kombu writes it: '[' message, exchange, queue ']'.

-- Returns the message and the queue of an entry. It re-encodes nothing: cjson turns [] into {}.
local function unwrap(entry)
  local queue = string.match(entry, ', "", "([^"]*)"%]$')
  return string.sub(entry, 2, -(string.len(', "", "' .. queue .. '"]') + 1)), queue
end

-- Wakes one waiting worker.
-- uses: DOORBELL, DOORBELL_MOST
local function ring()
  redis.call('LPUSH', DOORBELL, '1')
  redis.call('LTRIM', DOORBELL, 0, DOORBELL_MOST - 1)
end

-- One ring may stand for several messages: another worker is to look for the rest.
-- uses: DOORBELL, QUARANTINE, QUEUE_LIST
local function ring_for_the_rest(queues)
  for _, queue in ipairs(queues) do
    if redis.call('LLEN', QUARANTINE .. queue) + redis.call('LLEN', QUEUE_LIST .. queue) > 0 then
      if redis.call('LLEN', DOORBELL) == 0 then redis.call('LPUSH', DOORBELL, '1') end
      return
    end
  end
end

-- Ends the delivery of a message: no worker holds it any more.
-- uses: UNACKED, UNACKED_INDEX, UNACKED_JOBS
local function end_delivery(tag)
  redis.call('HDEL', UNACKED, tag)
  redis.call('ZREM', UNACKED_INDEX, tag)
  redis.call('HDEL', UNACKED_JOBS, tag)
end

-- Puts a message at the head of its queue, or of its quarantine when the job is a suspect.
-- uses: QUARANTINE, QUEUE_LIST, is_suspect, read, ring
local function push_first(record, queue, message)
  local quarantined = is_suspect(read(record, 'crashes', 'engine_deaths'))
  redis.call('RPUSH', (quarantined and QUARANTINE or QUEUE_LIST) .. queue, message)
  ring()
end

-- Puts the message of an entry at the head of its queue.
-- uses: push_first, unwrap
local function put_back(record, entry)
  local message, queue = unwrap(entry)
  push_first(record, queue, message)
  redis.call('HSET', record, 'state', 'queued')
end

-- Lets a message wait until it is due, ms.
-- uses: DEFERRED, DEFERRED_MESSAGES, whole
local function defer(id, message, due)
  redis.call('HSET', DEFERRED_MESSAGES, id, message)
  redis.call('ZADD', DEFERRED, whole(due), id)
end

-- Returns a job's message that is held, set aside or deferred; false for one in a queue, or none.
-- uses: DEFERRED_MESSAGES, FOLLOWERS, UNACKED, unwrap
local function find_message(id, tag, fingerprint)
  local entry = tag and redis.call('HGET', UNACKED, tag)
    or fingerprint and redis.call('HGET', FOLLOWERS .. fingerprint, id)
  if entry then return (unwrap(entry)) end
  return redis.call('HGET', DEFERRED_MESSAGES, id)
end
