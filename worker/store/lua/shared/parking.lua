-- Parked messages: out of their queue until a worker that serves their model takes them, so that
-- they hold up nobody behind them. A place is "queue:model".

-- Wakes a waiting worker that serves a model. Without such a worker there is nobody to wake, and
-- no key for each name that a caller makes up.
-- uses: DOORBELL_FOR, DOORBELL_MOST, SERVED
local function ring_for(model)
  if not redis.call('ZSCORE', SERVED, model) then return end
  redis.call('LPUSH', DOORBELL_FOR .. model, '1')
  redis.call('LTRIM', DOORBELL_FOR .. model, 0, DOORBELL_MOST - 1)
  redis.call('EXPIRE', DOORBELL_FOR .. model, 60)
end

-- Returns a score in the order of the submits; in the same ms, in the order of the parking.
-- uses: whole
local function score_after(waiting, submitted_ms)
  local from, to = whole(submitted_ms), '(' .. whole(submitted_ms + 1)
  local last = redis.call('ZREVRANGEBYSCORE', waiting, to, from, 'WITHSCORES', 'LIMIT', 0, 1)[2]
  -- A score can tell 0.001 ms apart at today's time; who comes after a thousand shares the last.
  local score = last and math.min(last + 0.001, submitted_ms + 0.999) or submitted_ms
  return string.format('%.3f', score)
end

-- Parks a message in the order of its submit.
-- uses: JOB_RECORD, PARKED, PARKED_FOR, PARKED_MESSAGES, ring_for, score_after, whole
local function park(id, queue, model, message, submitted_ms, now)
  local place = queue .. ':' .. model
  local waiting = PARKED_FOR .. place
  redis.call('HSET', PARKED_MESSAGES, id, string.len(place) .. ':' .. place .. message)
  redis.call('ZADD', waiting, score_after(waiting, submitted_ms or now), id)
  redis.call('ZADD', PARKED .. queue, whole(now), id)
  redis.call('HSET', JOB_RECORD .. id, 'state', 'parked')
  ring_for(model)
end

-- Returns a parked message and its place; nil when it is not parked.
-- uses: PARKED_MESSAGES
local function parked_message(id)
  local parked = redis.call('HGET', PARKED_MESSAGES, id)
  if not parked then return nil end
  local length, start = string.match(parked, '^(%d+):()')
  return string.sub(parked, start + length), string.sub(parked, start, start + length - 1)
end

-- Takes a message out of its parking place. Returns it and its queue; nil when it is not parked.
-- uses: PARKED, PARKED_FOR, PARKED_MESSAGES, parked_message
local function unpark(id)
  local message, place = parked_message(id)
  if not message then return nil end
  local queue = string.match(place, '^[^:]*')
  redis.call('HDEL', PARKED_MESSAGES, id)
  redis.call('ZREM', PARKED_FOR .. place, id)
  redis.call('ZREM', PARKED .. queue, id)
  return message, queue
end

-- Puts a parked message at the head of its queue. Returns whether it was parked.
-- uses: push_first, unpark
local function put_back_parked(record, id)
  local message, queue = unpark(id)
  if not message then return false end
  push_first(record, queue, message)
  redis.call('HSET', record, 'state', 'queued')
  return true
end

-- Returns the job that may be taken next of those parked in a queue for one of some models; nil
-- when there is none. `may_take` is asked of a few of each model, the oldest first.
-- uses: PARKED, PARKED_FOR
local function next_parked(queue, models, may_take)
  if redis.call('EXISTS', PARKED .. queue) == 0 then return nil end
  local first, first_ms = nil, nil
  for _, model in ipairs(models) do
    local oldest = redis.call('ZRANGE', PARKED_FOR .. queue .. ':' .. model, 0, 19, 'WITHSCORES')
    for place = 1, #oldest, 2 do
      local submitted_ms = tonumber(oldest[place + 1])
      if first_ms and submitted_ms >= first_ms then break end
      if may_take(oldest[place]) then
        first, first_ms = oldest[place], submitted_ms
        break
      end
    end
  end
  return first
end

-- Wakes a worker for what is left, as one ring may stand for several messages.
-- uses: DOORBELL, DOORBELL_FOR, PARKED, PARKED_FOR, QUARANTINE, QUEUE_LIST, ring_for
local function ring_for_the_rest(queues, models)
  local waiting = 0
  for _, queue in ipairs(queues) do
    waiting = waiting + redis.call('LLEN', QUARANTINE .. queue)
      + redis.call('LLEN', QUEUE_LIST .. queue)
    local is_parked = redis.call('EXISTS', PARKED .. queue) == 1
    for _, model in ipairs(is_parked and models or {}) do
      local here = redis.call('EXISTS', PARKED_FOR .. queue .. ':' .. model) == 1
      if here and redis.call('LLEN', DOORBELL_FOR .. model) == 0 then ring_for(model) end
    end
  end
  if waiting > 0 and redis.call('LLEN', DOORBELL) == 0 then redis.call('LPUSH', DOORBELL, '1') end
end
