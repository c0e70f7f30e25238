-- Dead letters: messages of jobs that failed permanently.

-- Adds to the bytes of all dead letters, where they have been counted.
-- uses: DEAD_LETTER_BYTES, whole
local function add_letter_bytes(bytes)
  if redis.call('EXISTS', DEAD_LETTER_BYTES) == 0 then return end
  redis.call('INCRBY', DEAD_LETTER_BYTES, whole(bytes))
end

-- Returns the bytes of all dead letters. They are counted anew where nobody knows: after an
-- upgrade, and whenever the count has expired.
-- uses: DEAD_LETTERS_MS, DEAD_LETTER_BYTES, DEAD_LETTER_MESSAGES, whole
local function letter_bytes()
  local known = redis.call('GET', DEAD_LETTER_BYTES)
  if known then return tonumber(known) end
  local bytes = 0
  for _, id in ipairs(redis.call('HKEYS', DEAD_LETTER_MESSAGES)) do
    bytes = bytes + redis.call('HSTRLEN', DEAD_LETTER_MESSAGES, id)
  end
  redis.call('SET', DEAD_LETTER_BYTES, whole(bytes), 'PX', DEAD_LETTERS_MS)
  return bytes
end

-- Keeps a job's message as a dead letter; without one, the message that is there already. The
-- job's record tells the kind, the error and the counts for as long as the letter is kept.
-- uses: DEAD_LETTERS, DEAD_LETTERS_MS, DEAD_LETTER_MESSAGES, JOB_RECORD, add_letter_bytes
-- uses: keep_until, whole
local function bury(id, message, now)
  if message then
    local before = redis.call('HSTRLEN', DEAD_LETTER_MESSAGES, id)
    redis.call('HSET', DEAD_LETTER_MESSAGES, id, message)
    add_letter_bytes(string.len(message) - before)
  end
  redis.call('ZADD', DEAD_LETTERS, whole(now), id)
  keep_until(JOB_RECORD .. id, now + DEAD_LETTERS_MS, now)
end

-- Drops one dead letter.
-- uses: DEAD_LETTERS, DEAD_LETTER_MESSAGES, add_letter_bytes
local function drop_letter(id)
  local bytes = redis.call('HSTRLEN', DEAD_LETTER_MESSAGES, id)
  redis.call('ZREM', DEAD_LETTERS, id)
  redis.call('HDEL', DEAD_LETTER_MESSAGES, id)
  if bytes > 0 then add_letter_bytes(-bytes) end
end

-- Drops dead letters that are too old, and the oldest when there are too many, or too many bytes.
-- uses: DEAD_LETTERS, DEAD_LETTERS_MOST, DEAD_LETTERS_MS, drop_letter, letter_bytes, whole
local function drop_old_letters(now, most_bytes)
  local old = redis.call('ZRANGEBYSCORE', DEAD_LETTERS, '-inf', whole(now - DEAD_LETTERS_MS))
  for _, id in ipairs(old) do drop_letter(id) end
  local over = redis.call('ZCARD', DEAD_LETTERS) - DEAD_LETTERS_MOST
  if over > 0 then
    for _, id in ipairs(redis.call('ZRANGE', DEAD_LETTERS, 0, over - 1)) do drop_letter(id) end
  end
  while most_bytes > 0 and letter_bytes() > most_bytes do
    local oldest = unpack(redis.call('ZRANGE', DEAD_LETTERS, 0, 0))
    if not oldest then break end
    drop_letter(oldest)
  end
end
