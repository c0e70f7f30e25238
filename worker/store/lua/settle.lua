-- Store the result of a job, announce it and end all custody of its message, in one step, once. The
-- leader of a flight gives its result to all who wait for it. An answer goes into the cache.
-- ARGV[1] task id   ARGV[2] fence token; "" = only while no worker holds the job
-- ARGV[3] "caller": the end of this caller alone (cancelled, too late); "everyone": of the work;
-- "waiters": only for those who wait with it, its own comes later (in a canvas, cancelled or too late)
-- ARGV[4] state   ARGV[5] error code or ""   ARGV[6] 1 if the message goes to the dead letters
-- ARGV[7] lifetime of a result, s   ARGV[8] most dead letters   ARGV[9] their lifetime, ms
-- ARGV[10] answer or error, JSON   ARGV[11], ARGV[12] this job's result before and after it
-- ARGV[13] where this job's answer comes from: misses, hits or joined
-- ARGV[14] prompt tokens   ARGV[15] completion tokens; 0 where nothing was generated
-- ARGV[16] lifetime in the cache, s; 0 = not to be cached   ARGV[17] largest entry, bytes
-- ARGV[18] largest cache, bytes   ARGV[19] how long the generation took, ms
-- ARGV[20] what goes into the results of the others after each piece: i task id, q seconds queued,
-- a ARGV[10]   ARGV[21..] the pieces, one more than those
-- Returns {1, ids of jobs that had joined and have their result now}; {0} when there is a result
-- already; {-1} when the token is not the holder's (any more).
local id, token, answer = ARGV[1], ARGV[2], ARGV[10]
local state, failure, kept = ARGV[4], ARGV[5], tonumber(ARGV[7])
local prompt_tokens, completion_tokens = tonumber(ARGV[14]), tonumber(ARGV[15])
local answered = failure == ''
local record, now = JOB_RECORD .. id, clock()
local seen = redis.call('HMGET', record, 'settled', 'token', 'tag', 'fingerprint', 'caller_left',
  'canvas', 'submitted_ms', 'state')
local fingerprint = seen[4]
local leading = fingerprint and token ~= '' and leads(fingerprint, id, token)

local function wasted()
  if completion_tokens == 0 or ARGV[13] ~= 'misses' then return end
  redis.call('ZREM', DEADLINES, '')  -- as below
  count('generated_tokens', completion_tokens)
  count('undelivered_prompt_tokens', prompt_tokens)
  count('undelivered_completion_tokens', completion_tokens)
  redis.call('EXPIRE', STATS, STATS_SECONDS)
end

if token ~= '' and seen[2] ~= token then
  if seen[1] == token then return {1} end  -- the same call again: its reply was lost
  wasted()
  return {seen[1] and 0 or -1}
end
local caller_left = seen[1] and seen[5] and token ~= ''  -- its caller left, the work went on
if seen[1] and not caller_left then return {0} end
-- Of a call that the cache answered there is no record.
if not seen[8] and redis.call('EXISTS', RESULT_META .. id) == 1 then return {0} end
local leaving = token == '' and seen[2]
if leaving and not (ARGV[3] == 'caller' and fingerprint and not seen[6]
    and leads(fingerprint, id, seen[2]) and others_wait(fingerprint, id)) then
  return {-1}
end
-- Before any SET, as in renew.lua: a Redis that is full takes the results of what runs.
redis.call('ZREM', DEADLINES, id)
redis.call('SREM', UNANSWERED, id)

local function announce(job, result)
  redis.call('SET', RESULT_META .. job, result, 'EX', kept)
  redis.call('PUBLISH', RESULT_META .. job, result)
end

local function ended(of, by)
  redis.call('HSET', of, 'settled', by, 'state', state)
  if failure ~= '' then redis.call('HSET', of, 'error', failure) end
  redis.call('EXPIRE', of, kept)
end

local function forget_message(job, tag)
  if tag then end_delivery(tag) end
  redis.call('ZREM', DEADLINES, job)
  redis.call('SREM', UNANSWERED, job)
  redis.call('ZREM', DEFERRED, job)
  redis.call('HDEL', DEFERRED_MESSAGES, job)
end

local function own_origin()
  return seen[8] == 'joined' and 'joined' or ARGV[13]
end

local function took(submitted)
  return submitted and math.max(0, now - tonumber(submitted)) or nil
end

local function result_for(job, submitted)
  local waited_ms = submitted and math.max(0, took(submitted) - tonumber(ARGV[19]))
  local text = {ARGV[21]}
  for place = 1, string.len(ARGV[20]) do
    local piece = string.sub(ARGV[20], place, place)
    if piece == 'i' then table.insert(text, cjson.encode(job)) end
    if piece == 'a' then table.insert(text, answer) end
    if piece == 'q' then
      table.insert(text, waited_ms and string.format('%.3f', waited_ms / 1000) or 'null')
    end
    table.insert(text, ARGV[21 + place])
  end
  return table.concat(text)
end

local given = {1}
local letter = nil  -- where the leader's caller has left, the message of another who joined

-- Another who waits for the same. One in a canvas gets the outcome when a worker takes it next:
-- only with the message in hand can Celery call what comes after it.
local function fan_out_to(job)
  local other = JOB_RECORD .. job
  local its = redis.call('HMGET', other, 'settled', 'tag', 'canvas', 'submitted_ms', 'deadline_ms')
  if its[1] or not its[5] then return end
  if its[3] then
    local left = math.max(1000, tonumber(its[5]) - now) + kept * 1000
    redis.call('SET', HANDOFF .. job, (answered and 'a' or 'f') .. whole(prompt_tokens) .. ' '
      .. whole(completion_tokens) .. ' ' .. answer, 'PX', whole(left))
    local entry = redis.call('HGET', FOLLOWERS .. fingerprint, job)
    if entry then put_back(other, entry) end
    return
  end
  local entry = redis.call('HGET', FOLLOWERS .. fingerprint, job)
  if entry then table.insert(given, job) end
  if entry and caller_left and not letter then letter = {job, (opened(entry))} end
  announce(job, result_for(job, its[4]))
  ended(other, '1')
  redis.call('HDEL', other, 'token', 'tag')
  forget_message(job, its[2])
  count_end('joined', answered, took(its[4]), prompt_tokens, completion_tokens)
end

local function cache()
  local seconds, entry = tonumber(ARGV[16]),
    whole(prompt_tokens) .. ' ' .. whole(completion_tokens) .. ' ' .. answer
  local bytes = string.len(entry) + CACHE_ENTRY_OVERHEAD_BYTES
  if seconds == 0 or bytes > tonumber(ARGV[17]) then return end
  if redis.call('EXISTS', CACHE .. fingerprint) == 1 then return end
  local function drop(member)
    local name, size = string.match(member, '^(.*):(%d+)$')
    redis.call('DEL', CACHE .. name)
    redis.call('ZREM', CACHE_INDEX, member)
    return redis.call('DECRBY', CACHE_BYTES, size)
  end
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', CACHE_INDEX, '-inf', whole(now),
      'LIMIT', 0, 1000)) do drop(member) end
  local ends = now + seconds * 1000
  redis.call('SET', CACHE .. fingerprint, entry, 'PX', whole(seconds * 1000))
  redis.call('ZADD', CACHE_INDEX, whole(ends), fingerprint .. ':' .. bytes)
  local total = redis.call('INCRBY', CACHE_BYTES, bytes)
  keep(CACHE_INDEX, ends + 1000, now)
  keep(CACHE_BYTES, ends + 1000, now)
  while total > tonumber(ARGV[18]) do
    local oldest = redis.call('ZRANGE', CACHE_INDEX, 0, 0)[1]
    if not oldest then break end
    total = drop(oldest)
  end
  count('stored', 1)
end

local function bury(job, raw)
  if raw then redis.call('HSET', DEAD_LETTER_MESSAGES, job, raw) end
  redis.call('ZADD', DEAD_LETTERS, whole(now), job)
  -- The record tells the kind, the error and the counts for as long as the letter is kept.
  keep(JOB_RECORD .. job, now + ARGV[9], now)
end

local function drop_old_letters()
  local old = redis.call('ZRANGEBYSCORE', DEAD_LETTERS, '-inf', whole(now - ARGV[9]))
  local over = redis.call('ZCARD', DEAD_LETTERS) - tonumber(ARGV[8])
  if over > 0 then
    for _, one in ipairs(redis.call('ZRANGE', DEAD_LETTERS, 0, over - 1)) do table.insert(old, one) end
  end
  for _, one in ipairs(old) do
    redis.call('ZREM', DEAD_LETTERS, one)
    redis.call('HDEL', DEAD_LETTER_MESSAGES, one)
  end
end

local function fan_out()
  for _, job in ipairs(redis.call('ZRANGE', WAITERS .. fingerprint, 0, -1)) do
    if job ~= id then fan_out_to(job) end
  end
  redis.call('DEL', WAITERS .. fingerprint, FOLLOWERS .. fingerprint, GROUP .. fingerprint)
end

if ARGV[3] == 'waiters' then
  if not leading then return {0} end
  fan_out()
  cache()
  count('generated_tokens', completion_tokens)
  return given
end

-- --- This job's own end ---------------------------------------------------------------------------
local raw = redis.call('HGET', DEFERRED_MESSAGES, id)
local held = seen[3] and redis.call('HGET', UNACKED, seen[3])
local joined = fingerprint and redis.call('HGET', FOLLOWERS .. fingerprint, id)
if held or joined then raw = opened(held or joined) end
if not caller_left then
  announce(id, ARGV[11] .. answer .. ARGV[12])
  -- Also of a job without a record: the next step of a chain fails before it is sent.
  ended(record, token ~= '' and token or '1')
  count_end(own_origin(), answered, took(seen[7]), prompt_tokens, completion_tokens)
end
if leaving then
  -- The message stays held: the generation goes on for the others, under the same token.
  redis.call('HSET', record, 'caller_left', '1')
  redis.call('ZREM', WAITERS .. fingerprint, id)
  local latest = redis.call('ZREVRANGE', WAITERS .. fingerprint, 0, 0, 'WITHSCORES')
  keep(record, tonumber(latest[2]) + kept * 1000, now)
  if ARGV[6] == '1' then bury(id, raw) end
  return {1}
end
forget_message(id, seen[3])
if redis.call('EXISTS', record) == 1 then redis.call('HDEL', record, 'token', 'tag', 'caller_left') end
if caller_left then redis.call('HSET', record, 'settled', token) end
redis.call('DEL', HANDOFF .. id)
if not answered then
  wasted()
elseif ARGV[13] == 'misses' then
  count('generated_tokens', completion_tokens)
end

-- --- The others ---------------------------------------------------------------------------------
local shared = ARGV[3] == 'everyone' and fingerprint
  and (leading or (failure == 'crashed_too_often' and not leader_of(fingerprint)))
if fingerprint then redis.call('ZREM', WAITERS .. fingerprint, id) end
if shared then
  fan_out()
elseif leading then
  disband(fingerprint, nil, nil, nil)
elseif fingerprint then
  detach(fingerprint, id)
end
if leading and answered then cache() end

-- --- Dead letters ---------------------------------------------------------------------------------
if not caller_left and (raw or redis.call('HEXISTS', DEAD_LETTER_MESSAGES, id) == 1) then
  letter = {id, raw}
end
if ARGV[6] == '1' and letter then bury(letter[1], letter[2]) end
drop_old_letters()
return given
