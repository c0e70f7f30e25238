-- A job's message: waiting in a queue, deferred, or held by a worker.
-- A held or set-aside message is an entry as kombu writes it: '[' message, exchange, queue ']'.

-- Returns the message and the queue of an entry. It re-encodes nothing: cjson turns [] into {}.
local function unwrap(entry)
  local queue = string.match(entry, ', "", "([^"]*)"%]$')
  return string.sub(entry, 2, -(string.len(', "", "' .. queue .. '"]') + 1)), queue
end

-- Reads a message; nil for what names no task, or is not JSON.
local function decode(raw)
  local ok, message = pcall(cjson.decode, raw)
  return ok and type(message) == 'table' and type(message.headers) == 'table'
    and type(message.headers.id) == 'string' and type(message.properties) == 'table'
    and type(message.properties.delivery_tag) == 'string' and message or nil
end

-- Wakes one waiting worker.
-- uses: DOORBELL, DOORBELL_MOST
local function ring()
  redis.call('LPUSH', DOORBELL, '1')
  redis.call('LTRIM', DOORBELL, 0, DOORBELL_MOST - 1)
end

-- Keeps a message that nobody can read, or its beginning, among the newest of these.
-- uses: UNREADABLE, UNREADABLE_BYTES, UNREADABLE_MOST
local function put_unreadable(raw)
  redis.call('LPUSH', UNREADABLE, string.sub(raw, 1, UNREADABLE_BYTES))
  redis.call('LTRIM', UNREADABLE, 0, UNREADABLE_MOST - 1)
end

-- Ends the delivery of a message: no worker holds it any more.
-- uses: UNACKED, UNACKED_INDEX, UNACKED_JOBS
local function end_delivery(tag)
  redis.call('HDEL', UNACKED, tag)
  redis.call('ZREM', UNACKED_INDEX, tag)
  redis.call('HDEL', UNACKED_JOBS, tag)
end

-- Puts a message at the head of its queue, or of its quarantine when the job is a suspect.
-- uses: QUARANTINE, QUEUE_LIST, is_suspect, is_to_end, push_to_end, read, ring
local function push_first(record, queue, message)
  if is_to_end(record) then return push_to_end(record, queue, message) end
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

-- Returns a job's message that is held, set aside, parked or deferred; false for one in a queue, or
-- none.
-- uses: DEFERRED_MESSAGES, FAN_OUT_FOLLOWERS, FOLLOWERS, UNACKED, fan_out_of, parked_message
-- uses: unwrap
local function find_message(id, tag, fingerprint)
  local entry = tag and redis.call('HGET', UNACKED, tag)
    or fingerprint and redis.call('HGET', FOLLOWERS .. fingerprint, id)
  local open = not entry and fingerprint and fan_out_of(fingerprint, id)
  entry = entry or open and redis.call('HGET', FAN_OUT_FOLLOWERS .. open, id)
  if entry then return (unwrap(entry)) end
  return parked_message(id) or redis.call('HGET', DEFERRED_MESSAGES, id)
end
