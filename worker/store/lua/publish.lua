-- Writes what a worker says of itself and works out anew what all workers agree on. The consensus
-- maps a model to its revision where all who have the model have the same revision, and "*" to
-- "model revision" of the default model where all have the same default. A caller looks into the
-- cache only with these. It also notes until when each model was served.
-- ARGV[1] worker
-- ARGV[2] its presence, JSON; "" = it goes
-- ARGV[3] lifetime of all that is written, ms
-- ARGV[4] its model catalog, JSON: {"default": model, "models": {model: revision},
--         "serves": [model], "failing": [model]}; these two name models as the consensus does
-- Returns 1.
-- uses: CATALOG, CATALOG_UNTIL, CONSENSUS, PRESENCE, clock, note_served, whole
local worker, presence, lifetime_ms, catalog = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local now = clock()

if presence == '' then
  redis.call('DEL', PRESENCE .. worker)
  redis.call('ZREM', CATALOG_UNTIL, worker)
  redis.call('HDEL', CATALOG, worker)
else
  redis.call('SET', PRESENCE .. worker, presence, 'PX', whole(lifetime_ms))
  redis.call('ZADD', CATALOG_UNTIL, whole(now + lifetime_ms), worker)
  redis.call('HSET', CATALOG, worker, catalog)
  note_served(cjson.decode(catalog), now)
end
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', CATALOG_UNTIL, '-inf', whole(now))) do
  redis.call('ZREM', CATALOG_UNTIL, gone)
  redis.call('HDEL', CATALOG, gone)
end

local revisions, default, defaults_differ = {}, nil, false  -- false for a model: they differ
for _, text in ipairs(redis.call('HVALS', CATALOG)) do
  local says = cjson.decode(text)
  defaults_differ = defaults_differ or (default ~= nil and default ~= says.default)
  default = says.default
  for model, revision in pairs(says.models) do
    if revisions[model] == nil then
      revisions[model] = revision
    elseif revisions[model] ~= revision then
      revisions[model] = false
    end
  end
end

redis.call('DEL', CONSENSUS)
for model, revision in pairs(revisions) do
  if revision then redis.call('HSET', CONSENSUS, model, revision) end
end
if default and not defaults_differ and revisions[default] then
  redis.call('HSET', CONSENSUS, '*', default .. ' ' .. revisions[default])
end
for _, key in ipairs({CONSENSUS, CATALOG, CATALOG_UNTIL}) do
  redis.call('PEXPIRE', key, whole(lifetime_ms))
end
return 1
