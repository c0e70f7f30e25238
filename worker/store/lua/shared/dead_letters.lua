-- Dead letters: messages of jobs that failed permanently.

-- Keeps a job's message as a dead letter; without one, the message that is there already. The
-- job's record tells the kind, the error and the counts for as long as the letter is kept.
-- uses: DEAD_LETTERS, DEAD_LETTERS_MS, DEAD_LETTER_MESSAGES, JOB_RECORD, keep_until, whole
local function bury(id, message, now)
  if message then redis.call('HSET', DEAD_LETTER_MESSAGES, id, message) end
  redis.call('ZADD', DEAD_LETTERS, whole(now), id)
  keep_until(JOB_RECORD .. id, now + DEAD_LETTERS_MS, now)
end

-- Drops one dead letter.
-- uses: DEAD_LETTERS, DEAD_LETTER_MESSAGES
local function drop_letter(id)
  redis.call('ZREM', DEAD_LETTERS, id)
  redis.call('HDEL', DEAD_LETTER_MESSAGES, id)
end

-- Drops dead letters that are too old, and the oldest when there are too many.
-- uses: DEAD_LETTERS, DEAD_LETTERS_MOST, DEAD_LETTERS_MS, drop_letter, whole
local function drop_old_letters(now)
  local old = redis.call('ZRANGEBYSCORE', DEAD_LETTERS, '-inf', whole(now - DEAD_LETTERS_MS))
  for _, id in ipairs(old) do drop_letter(id) end
  local over = redis.call('ZCARD', DEAD_LETTERS) - DEAD_LETTERS_MOST
  if over <= 0 then return end
  for _, id in ipairs(redis.call('ZRANGE', DEAD_LETTERS, 0, over - 1)) do drop_letter(id) end
end
