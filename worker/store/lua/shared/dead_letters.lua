-- Dead letters: messages of jobs that failed permanently.

-- Adds to the bytes of all dead letters, where they have been counted.
-- uses: DEAD_LETTER_BYTES, whole
local function add_letter_bytes(bytes)
  if redis.call('EXISTS', DEAD_LETTER_BYTES) == 0 then return end
  redis.call('INCRBY', DEAD_LETTER_BYTES, whole(bytes))
end

-- Returns the bytes of all dead letters. They are counted anew where nobody knows: after an
-- upgrade, and whenever the count has expired.
-- uses: DEAD_LETTERS_MS, DEAD_LETTER_BYTES, DEAD_LETTER_MESSAGES, DEAD_LETTER_TEXTS, whole
local function letter_bytes()
  local known = redis.call('GET', DEAD_LETTER_BYTES)
  if known then return tonumber(known) end
  local bytes = 0
  for _, kept in ipairs({DEAD_LETTER_MESSAGES, DEAD_LETTER_TEXTS}) do
    for _, id in ipairs(redis.call('HKEYS', kept)) do
      bytes = bytes + redis.call('HSTRLEN', kept, id)
    end
  end
  redis.call('SET', DEAD_LETTER_BYTES, whole(bytes), 'PX', DEAD_LETTERS_MS)
  return bytes
end

-- Keeps something of a dead letter, in place of what is there.
-- uses: add_letter_bytes
local function keep_part(kept, id, part)
  local before = redis.call('HSTRLEN', kept, id)
  redis.call('HSET', kept, id, part)
  add_letter_bytes(string.len(part) - before)
end

-- Keeps a job's message as a dead letter; without one, the message that is there already, if any.
-- The job's record tells the kind, the error and the counts for as long as the letter is kept.
-- `text` is what the model wrote last; "" where that was not the fault.
-- uses: DEAD_LETTERS, DEAD_LETTERS_MS, DEAD_LETTER_MESSAGES, DEAD_LETTER_TEXTS, JOB_RECORD
-- uses: keep_part, keep_until, whole
local function bury(id, message, now, text)
  if not message and redis.call('HEXISTS', DEAD_LETTER_MESSAGES, id) == 0 then return end
  if message then keep_part(DEAD_LETTER_MESSAGES, id, message) end
  -- An open fan-out of a version before may have `true`.
  if type(text) == 'string' and text ~= '' then keep_part(DEAD_LETTER_TEXTS, id, text) end
  redis.call('ZADD', DEAD_LETTERS, whole(now), id)
  keep_until(JOB_RECORD .. id, now + DEAD_LETTERS_MS, now)
end

-- Drops one dead letter.
-- uses: DEAD_LETTERS, DEAD_LETTER_MESSAGES, DEAD_LETTER_TEXTS, add_letter_bytes
local function drop_letter(id)
  local bytes = redis.call('HSTRLEN', DEAD_LETTER_MESSAGES, id)
    + redis.call('HSTRLEN', DEAD_LETTER_TEXTS, id)
  redis.call('ZREM', DEAD_LETTERS, id)
  redis.call('HDEL', DEAD_LETTER_MESSAGES, id)
  redis.call('HDEL', DEAD_LETTER_TEXTS, id)
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
