-- Webhooks: what the callers' own servers are told of. An event is one such message, which an HTTP
-- process delivers. A job's webhook is text in its record: "job" or "response", host, URL.

-- Lets an event be delivered; one that is there already stays as it is. Where too many wait, the
-- one that is due last is given up for it: it has failed most often.
-- uses: WEBHOOKS_DUE, WEBHOOKS_MOST, WEBHOOK_EVENT, WEBHOOK_SECONDS, give_up_event, keep_until
-- uses: whole
local function add_event(event, kind, object, host, url, now)
  local key, until_ms = WEBHOOK_EVENT .. event, now + WEBHOOK_SECONDS * 1000
  if redis.call('EXISTS', key) == 1 then return end
  redis.call('HSET', key, 'type', kind, 'object', object, 'host', host, 'url', url,
    'created_ms', whole(now), 'tries', 0)
  redis.call('EXPIRE', key, WEBHOOK_SECONDS)
  if redis.call('ZCARD', WEBHOOKS_DUE) >= WEBHOOKS_MOST then
    give_up_event(unpack(redis.call('ZREVRANGE', WEBHOOKS_DUE, 0, 0)), 'too_many', now)
  end
  redis.call('ZADD', WEBHOOKS_DUE, whole(now), event)
  keep_until(WEBHOOKS_DUE, until_ms, now)
end

-- Delivers an event no more, and keeps it to be looked at, as long as few enough came after it.
-- uses: WEBHOOKS_DUE, WEBHOOKS_GIVEN_UP, WEBHOOKS_GIVEN_UP_MOST, WEBHOOK_EVENT, WEBHOOK_SECONDS
-- uses: whole
local function give_up_event(event, code, now)
  redis.call('ZREM', WEBHOOKS_DUE, event)
  redis.call('HSET', WEBHOOK_EVENT .. event, 'code', code)
  redis.call('EXPIRE', WEBHOOK_EVENT .. event, WEBHOOK_SECONDS)
  redis.call('ZADD', WEBHOOKS_GIVEN_UP, whole(now), event)
  redis.call('EXPIRE', WEBHOOKS_GIVEN_UP, WEBHOOK_SECONDS)
  for _, old in ipairs(redis.call('ZRANGE', WEBHOOKS_GIVEN_UP, 0, -WEBHOOKS_GIVEN_UP_MOST - 1)) do
    redis.call('ZREM', WEBHOOKS_GIVEN_UP, old)
    redis.call('DEL', WEBHOOK_EVENT .. old)
  end
end

-- Tells a job's webhook how the job ended. `answer` is JSON, of the answer or the result that holds
-- it. `end_name` is another one for each end of the same job.
-- uses: add_event
local function tell_webhook(webhook, id, state, answer, end_name, now)
  local kind, host, url = string.match(webhook, '^(%S+) (%S+) (%S+)$')
  local object, word = id, state
  if kind == 'response' then
    object, word = 'resp_' .. id, state == 'succeeded' and 'completed' or state
    local is_read, members = pcall(cjson.decode, state == 'succeeded' and answer or '{}')
    local told = is_read and (members.result or members) or {}
    if told.finish_reason == 'length' then word = 'incomplete' end
  end
  local event = 'evt_' .. redis.sha1hex(id .. ' ' .. end_name)
  add_event(event, kind .. '.' .. word, object, host, url, now)
end
