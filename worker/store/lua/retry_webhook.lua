-- Lets an event be delivered now, as if it had not been tried, whatever its URL answered before.
-- ARGV[1] id of the event
-- Returns 1, or 0 when there is no such event.
-- uses: WEBHOOKS_DUE, WEBHOOKS_GIVEN_UP, WEBHOOK_EVENT, WEBHOOK_GONE, WEBHOOK_SECONDS, clock
-- uses: keep_until, whole
local event = ARGV[1]
local key, now = WEBHOOK_EVENT .. event, clock()

local url = redis.call('HGET', key, 'url')
if not url then return 0 end
redis.call('ZREM', WEBHOOKS_GIVEN_UP, event)
redis.call('DEL', WEBHOOK_GONE .. redis.sha1hex(url))
redis.call('HSET', key, 'tries', 0)
redis.call('EXPIRE', key, WEBHOOK_SECONDS)
redis.call('ZADD', WEBHOOKS_DUE, whole(now), event)
keep_until(WEBHOOKS_DUE, now + WEBHOOK_SECONDS * 1000, now)
return 1
