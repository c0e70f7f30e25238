-- Notes what became of one try to deliver an event.
-- ARGV[1] id of the event
-- ARGV[2] number of the try: a later one, of somebody else, counts alone
-- ARGV[3] "delivered", "again", "given_up", or "gone": nothing is delivered to this URL any more
-- ARGV[4] what the host answered, or why it did not
-- ARGV[5] when the next try is due, ms from now
-- Returns 1, or 0 when there was a later try, or the event is delivered or given up.
-- uses: WEBHOOKS_DUE, WEBHOOK_EVENT, WEBHOOK_GONE, WEBHOOK_GONE_SECONDS, WEBHOOK_SECONDS, clock
-- uses: give_up_event, keep_until, read, whole
local event, try, outcome, code, again_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local key, now = WEBHOOK_EVENT .. event, clock()

local told = read(key, 'tries', 'url')
local is_due = redis.call('ZSCORE', WEBHOOKS_DUE, event)
if not is_due or told.tries ~= try then return 0 end
redis.call('ZREM', WEBHOOKS_DUE, '')  -- a first write that needs no memory, as in renew.lua
if outcome == 'delivered' then
  redis.call('ZREM', WEBHOOKS_DUE, event)
  redis.call('DEL', key)
elseif outcome == 'again' then
  redis.call('HSET', key, 'code', code)
  redis.call('ZADD', WEBHOOKS_DUE, whole(now + again_ms), event)
  keep_until(key, now + again_ms + WEBHOOK_SECONDS * 1000, now)
  keep_until(WEBHOOKS_DUE, now + again_ms + WEBHOOK_SECONDS * 1000, now)
else
  if outcome == 'gone' then
    redis.call('SET', WEBHOOK_GONE .. redis.sha1hex(told.url), '1', 'EX', WEBHOOK_GONE_SECONDS)
  end
  give_up_event(event, code, now)
end
return 1
