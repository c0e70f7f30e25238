-- The result cache. Its index names each entry "fingerprint:bytes".

-- Drops the entry of one index member. Returns the bytes of all that are left.
-- uses: CACHE, CACHE_BYTES, CACHE_INDEX
local function drop_entry(member)
  local fingerprint, bytes = string.match(member, '^(.*):(%d+)$')
  redis.call('DEL', CACHE .. fingerprint)
  redis.call('ZREM', CACHE_INDEX, member)
  return redis.call('DECRBY', CACHE_BYTES, bytes)
end

-- Drops up to 1,000 entries whose time is over.
-- uses: CACHE_INDEX, drop_entry, whole
local function drop_expired_entries(now)
  local expired = redis.call('ZRANGEBYSCORE', CACHE_INDEX, '-inf', whole(now), 'LIMIT', 0, 1000)
  for _, member in ipairs(expired) do drop_entry(member) end
end

-- Puts an answer into the cache, once; the entries that end first make room for it.
-- uses: CACHE, CACHE_BYTES, CACHE_ENTRY_OVERHEAD_BYTES, CACHE_INDEX, count, drop_entry
-- uses: drop_expired_entries, keep_until, outcome_entry, whole
local function cache_answer(fingerprint, ending, now)
  if ending.cache_seconds == 0 then return end
  local entry, key = outcome_entry(ending), CACHE .. fingerprint
  local bytes = string.len(entry) + CACHE_ENTRY_OVERHEAD_BYTES
  if bytes > ending.cache_entry_bytes or redis.call('EXISTS', key) == 1 then return end
  drop_expired_entries(now)
  local lifetime_ms = ending.cache_seconds * 1000
  redis.call('SET', key, entry, 'PX', whole(lifetime_ms))
  redis.call('ZADD', CACHE_INDEX, whole(now + lifetime_ms), fingerprint .. ':' .. bytes)
  local total = redis.call('INCRBY', CACHE_BYTES, bytes)
  keep_until(CACHE_INDEX, now + lifetime_ms + 1000, now)
  keep_until(CACHE_BYTES, now + lifetime_ms + 1000, now)
  while total > ending.cache_total_bytes do
    local oldest = unpack(redis.call('ZRANGE', CACHE_INDEX, 0, 0))
    if not oldest then break end
    total = drop_entry(oldest)
  end
  count('stored', 1)
end
