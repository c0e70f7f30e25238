-- The result cache, the vectors of texts, and the steps of jobs. Each is a place {entries = prefix,
-- index = key, bytes = key}. Its index names each entry "name:bytes".

-- Drops the entry of one index member. Returns the bytes of all that are left.
local function drop_entry(place, member)
  local name, bytes = string.match(member, '^(.*):(%d+)$')
  redis.call('DEL', place.entries .. name)
  redis.call('ZREM', place.index, member)
  return redis.call('DECRBY', place.bytes, bytes)
end

-- Drops up to 1,000 entries whose time is over.
-- uses: drop_entry, whole
local function drop_expired_entries(place, now)
  local expired = redis.call('ZRANGEBYSCORE', place.index, '-inf', whole(now), 'LIMIT', 0, 1000)
  for _, member in ipairs(expired) do drop_entry(place, member) end
end

-- Keeps an entry, once; those that end first make room for it. `bounds`: seconds, entry_bytes,
-- total_bytes. Returns whether it is new.
-- uses: CACHE_ENTRY_OVERHEAD_BYTES, drop_entry, drop_expired_entries, keep_until, whole
local function keep_entry(place, name, entry, bounds, now)
  if bounds.seconds == 0 then return false end
  local key = place.entries .. name
  local bytes = string.len(entry) + CACHE_ENTRY_OVERHEAD_BYTES
  if bytes > bounds.entry_bytes or redis.call('EXISTS', key) == 1 then return false end
  drop_expired_entries(place, now)
  local lifetime_ms = bounds.seconds * 1000
  redis.call('SET', key, entry, 'PX', whole(lifetime_ms))
  redis.call('ZADD', place.index, whole(now + lifetime_ms), name .. ':' .. bytes)
  local total = redis.call('INCRBY', place.bytes, bytes)
  keep_until(place.index, now + lifetime_ms + 1000, now)
  keep_until(place.bytes, now + lifetime_ms + 1000, now)
  while total > bounds.total_bytes do
    local oldest = unpack(redis.call('ZRANGE', place.index, 0, 0))
    if not oldest then break end
    total = drop_entry(place, oldest)
  end
  return true
end

-- Puts an answer into the cache, once.
-- uses: CACHE, CACHE_BYTES, CACHE_INDEX, count, keep_entry, outcome_entry
local function cache_answer(fingerprint, ending, now)
  if ending.cache_seconds == 0 then return end
  local place = {entries = CACHE, index = CACHE_INDEX, bytes = CACHE_BYTES}
  local bounds = {
    seconds = ending.cache_seconds, entry_bytes = ending.cache_entry_bytes,
    total_bytes = ending.cache_total_bytes,
  }
  if keep_entry(place, fingerprint, outcome_entry(ending), bounds, now) then count('stored', 1) end
end
