-- Takes events that are due to be delivered. Each stays, and is due again later, in case that its
-- deliverer dies. What is due for a host that has its share waits, and holds up no other.
-- ARGV[1] most events
-- ARGV[2] when they are due again, ms from now
-- ARGV[3] most events for one host at once
-- ARGV[4] how long an event waits whose host has so many, ms
-- ARGV[5..] the hosts of what the caller delivers now, each as often
-- Returns {{id, type, object, host, URL, created, ms, number of this try}, ...}. A call whose reply
-- was lost delays them. An event for a URL that is gone is given up.
-- uses: WEBHOOKS_DUE, WEBHOOK_EVENT, WEBHOOK_GONE, clock, give_up_event, read, whole
local most, again_ms, of_one_host = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local wait_ms, busy = tonumber(ARGV[4]), {unpack(ARGV, 5)}
local now, found, delivered_to = clock(), {}, {}
for _, host in ipairs(busy) do delivered_to[host] = (delivered_to[host] or 0) + 1 end

for _, event in ipairs(
    redis.call('ZRANGEBYSCORE', WEBHOOKS_DUE, '-inf', whole(now), 'LIMIT', 0, 200)) do
  if #found == most then break end
  local key = WEBHOOK_EVENT .. event
  local told = read(key, 'type', 'object', 'host', 'url', 'created_ms')
  redis.call('ZREM', WEBHOOKS_DUE, event)  -- a first write that needs no memory, as in renew.lua
  if told.url and redis.call('EXISTS', WEBHOOK_GONE .. redis.sha1hex(told.url)) == 1 then
    give_up_event(event, '410', now)
  elseif told.url and (delivered_to[told.host] or 0) >= of_one_host then
    redis.call('ZADD', WEBHOOKS_DUE, whole(now + wait_ms), event)
  elseif told.url then
    delivered_to[told.host] = (delivered_to[told.host] or 0) + 1
    redis.call('ZADD', WEBHOOKS_DUE, whole(now + again_ms), event)
    table.insert(found, {event, told.type, told.object, told.host, told.url,
      tonumber(told.created_ms), redis.call('HINCRBY', key, 'tries', 1)})
  end
end
return found
