-- All of Redis that matters, in one call.   KEYS the lists of messages   ARGV task ids
-- Returns JSON: see Seen in look.py. The names are those of worker/store/keys.py.
local seen = {backlog = {}, fanned = {}, places = {}, results = {}, records = {}, groups = {}, waiters = {}, texts = {}, waiting = 0}

local function at(raw, place)
  local message = cjson.decode(raw)
  local id = (message.headers or message[1].headers).id
  seen.places[id] = seen.places[id] or {}
  table.insert(seen.places[id], place)
  if place ~= 'dead' then seen.waiting = seen.waiting + 1 end
end

local function each(prefix, look)
  for _, key in ipairs(redis.call('KEYS', prefix .. '*')) do
    look(string.sub(key, string.len(prefix) + 1), key)
  end
end

for _, queue in ipairs(KEYS) do
  for _, raw in ipairs(redis.call('LRANGE', queue, 0, -1)) do at(raw, 'queue') end
end
local held = {unacked = UNACKED, deferred = DEFERRED_MESSAGES, dead = DEAD_LETTER_MESSAGES}
for place, key in pairs(held) do
  for _, raw in ipairs(redis.call('HVALS', key)) do at(raw, place) end
end
for _, parked in ipairs(redis.call('HVALS', PARKED_MESSAGES)) do
  local length, start = string.match(parked, '^(%d+):()')
  at(string.sub(parked, start + length), 'parked')
end
each(FOLLOWERS, function(_, key)
  for _, raw in ipairs(redis.call('HVALS', key)) do at(raw, 'joined') end
end)
-- The schedule's own name for a place: those in it have no leader any more.
each(FAN_OUT_FOLLOWERS, function(_, key)
  for _, raw in ipairs(redis.call('HVALS', key)) do at(raw, 'fan-out') end
end)
each(FAN_OUT_WAITERS, function(_, key)
  for _, id in ipairs(redis.call('ZRANGE', key, 0, -1)) do table.insert(seen.fanned, id) end
end)
seen.waiting = seen.waiting + redis.call('ZCARD', FAN_OUTS)
each(GROUP, function(fingerprint, key)
  seen.groups[fingerprint] = redis.call('HMGET', key, 'leader', 'token')
end)
each(WAITERS, function(fingerprint, key)
  seen.waiters[fingerprint] = redis.call('ZRANGE', key, 0, -1)
end)
each(TEXT, function(place, key)
  seen.texts[place] = redis.call('GET', key)
end)
for name, key in pairs({jobs = BACKLOG_JOBS, sums = BACKLOG}) do
  local fields = redis.call('HGETALL', key)
  seen.backlog[name] = {}
  for place = 1, #fields, 2 do seen.backlog[name][fields[place]] = fields[place + 1] end
end
seen.waiting = seen.waiting + redis.call('SCARD', UNANSWERED) + redis.call('ZCARD', AFTERWORK)
for _, id in ipairs(ARGV) do
  seen.results[id] = redis.call('GET', RESULT_META .. id) or nil
  local fields = redis.call('HGETALL', JOB_RECORD .. id)
  if #fields > 0 then
    seen.records[id] = {}
    for place = 1, #fields, 2 do seen.records[id][fields[place]] = fields[place + 1] end
  end
end
redis.call('PUBLISH', QUEUE_LIST .. '/0.c-mark', '')
return cjson.encode(seen)
