-- A worker says what it serves, and what all workers agree on is worked out anew.
-- ARGV[1] worker name   ARGV[2] its presence, JSON; "" = it goes
-- ARGV[3] lifetime of both, ms   ARGV[4] JSON: {"default": model, "models": {model: identity}}
-- The table: model → identity, where all who have that model say the same; "*" → "model identity" of
-- the default model, where all have the same one. A caller looks into the cache only with these.
local worker, ttl = ARGV[1], tonumber(ARGV[3])
local now = clock()
if ARGV[2] == '' then
  redis.call('DEL', PRESENCE .. worker)
  redis.call('ZREM', CATALOG_UNTIL, worker)
  redis.call('HDEL', CATALOG, worker)
else
  redis.call('SET', PRESENCE .. worker, ARGV[2], 'PX', whole(ttl))
  redis.call('ZADD', CATALOG_UNTIL, whole(now + ttl), worker)
  redis.call('HSET', CATALOG, worker, ARGV[4])
end
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', CATALOG_UNTIL, '-inf', whole(now))) do
  redis.call('ZREM', CATALOG_UNTIL, gone)
  redis.call('HDEL', CATALOG, gone)
end
local agreed, default, several = {}, nil, false
for _, text in ipairs(redis.call('HVALS', CATALOG)) do
  local says = cjson.decode(text)
  several = several or (default ~= nil and default ~= says.default)
  default = says.default
  for model, identity in pairs(says.models) do
    if agreed[model] == nil then
      agreed[model] = identity
    elseif agreed[model] ~= identity then
      agreed[model] = false
    end
  end
end
redis.call('DEL', CONSENSUS)
for model, identity in pairs(agreed) do
  if identity then redis.call('HSET', CONSENSUS, model, identity) end
end
if default and not several and agreed[default] then
  redis.call('HSET', CONSENSUS, '*', default .. ' ' .. agreed[default])
end
for _, key in ipairs({CONSENSUS, CATALOG, CATALOG_UNTIL}) do redis.call('PEXPIRE', key, whole(ttl)) end
return 1
