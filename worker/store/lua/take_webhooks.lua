-- Takes events that are due to be delivered. Each stays, and is due again later, in case that its
-- deliverer dies. What is due for a host that has its share holds up no other.
-- ARGV[1] most events
-- ARGV[2] when they are due again, ms from now
-- ARGV[3] most events for one host at once
-- ARGV[4..] the hosts of what the caller delivers now, each as often
-- Returns {{id, type, object, host, URL, created, ms, number of this try}, ...}. A call whose reply
-- was lost delays them. An event for a URL that is gone is given up.
-- uses: WEBHOOKS_DUE, WEBHOOKS_LOOK, WEBHOOK_EVENT, WEBHOOK_GONE, clock, give_up_event, read, whole
local most, again_ms, of_one_host = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local busy = {unpack(ARGV, 4)}
local now, found, delivered_to = clock(), {}, {}
for _, host in ipairs(busy) do delivered_to[host] = (delivered_to[host] or 0) + 1 end

-- Looks at the events that are due first. Returns those that have to wait for their host.
local function look()
  local waiting = {}
  for _, event in ipairs(redis.call(
      'ZRANGEBYSCORE', WEBHOOKS_DUE, '-inf', whole(now), 'LIMIT', 0, WEBHOOKS_LOOK)) do
    if #found == most then break end
    local key = WEBHOOK_EVENT .. event
    local told = read(key, 'type', 'object', 'host', 'url', 'created_ms')
    if not told.url then
      redis.call('ZREM', WEBHOOKS_DUE, event)
    elseif redis.call('EXISTS', WEBHOOK_GONE .. redis.sha1hex(told.url)) == 1 then
      give_up_event(event, '410', now)
    elseif (delivered_to[told.host] or 0) >= of_one_host then
      table.insert(waiting, event)
    else
      delivered_to[told.host] = (delivered_to[told.host] or 0) + 1
      redis.call('ZADD', WEBHOOKS_DUE, whole(now + again_ms), event)
      table.insert(found, {event, told.type, told.object, told.host, told.url,
        tonumber(told.created_ms), redis.call('HINCRBY', key, 'tries', 1)})
    end
  end
  return waiting
end

redis.call('ZREM', WEBHOOKS_DUE, '')  -- a first write that needs no memory, as in renew.lua
for _ = 1, 5 do
  local waiting = look()
  if #found > 0 or #waiting < WEBHOOKS_LOOK then break end
  -- Behind those of other hosts.
  for _, event in ipairs(waiting) do redis.call('ZADD', WEBHOOKS_DUE, whole(now + 1), event) end
end
return found
