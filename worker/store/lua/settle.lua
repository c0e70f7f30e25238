-- Stores the result of a job, announces it and ends its delivery, in one step and once. The leader
-- of a group gives its outcome to all who wait with it. An answer goes into the cache.
-- ARGV[1], ARGV[2] task id, fencing token; "" = only while no worker holds it, or to leave a group
-- ARGV[3] whose job ends: "caller" (this one's alone: cancelled, too late), "everyone" (of all who
--         wait), "waiters" (of the others; its own end comes later)
-- ARGV[4], ARGV[5] state, code of the error ("" for an answer)
-- ARGV[6] most bytes of all dead letters if the message becomes one, else 0; then n or c, see owe;
--         then a space, and what the model wrote last
-- ARGV[7], ARGV[8] lifetime of a result, s; answer or error, JSON: what all results share
-- ARGV[9], ARGV[10] what stands before and after it in this job's result
-- ARGV[11] where the answer comes from: misses, hits or joined
-- ARGV[12], ARGV[13] prompt tokens, completion tokens; 0 where nothing was generated
-- ARGV[14] lifetime in the cache, s; 0 = not to be cached
-- ARGV[15], ARGV[16] largest cache entry and largest cache, bytes
-- ARGV[17], ARGV[18] how long the generation took, ms; JSON of Work.savings_text
-- ARGV[19], ARGV[20..] holes of the waiters' results, one character each, see waiter_result; the
--         pieces before, between and after them
-- Returns {1, name of a fan-out that answer_waiters goes on with or "", ids of the followers that
-- have their result now}, or {1} when nobody else gets one; {0} when there is a result already;
-- {-1} when the token is not the holder's, or a worker holds the job and there was no token.
-- uses: DEADLINES, HANDOFF, JOB_RECORD, RESULT_META, UNANSWERED, WAITERS, announce, bury
-- uses: cache_answer, clock, count, count_end, count_undelivered, detach, disband, drop_old_letters
-- uses: elapsed, enter_made, fan_out, find_message, leader_of, leads, leave_running, mark_ended
-- uses: others_wait, owe, read, remove_message, written_run
local id, token, settle_for, after_it = ARGV[1], ARGV[2], ARGV[3], ARGV[6]
local letters_bytes, follows, last_text = string.match(after_it, '^(%d+)(%a?) ?(.*)$')
local keep_letter, before, after = letters_bytes ~= '0', ARGV[9], ARGV[10]
local ending = {
  state = ARGV[4], error = ARGV[5], kept_seconds = tonumber(ARGV[7]), text = ARGV[8],
  origin = ARGV[11], prompt_tokens = tonumber(ARGV[12]), completion_tokens = tonumber(ARGV[13]),
  cache_seconds = tonumber(ARGV[14]), cache_entry_bytes = tonumber(ARGV[15]),
  cache_total_bytes = tonumber(ARGV[16]), generation_ms = tonumber(ARGV[17]),
  savings = cjson.decode(ARGV[18]), holes = ARGV[19], pieces = {unpack(ARGV, 20)},
}
local record, now = JOB_RECORD .. id, clock()
local job = read(record, 'settled', 'token', 'tag', 'fingerprint', 'caller_left', 'canvas',
  'submitted_ms', 'state', 'by_name', 'webhook', 'tenant')
local fingerprint, by_holder, savings = job.fingerprint, token ~= '', ending.savings
savings.tenant = savings.tenant or job.tenant
ending.run = job.token and written_run(fingerprint, id, job.token)

-- --- May this call end the job? ---
if by_holder and job.token ~= token then
  if job.settled == token then return {1} end  -- the same call again: its reply was lost
  count_undelivered(ending)
  enter_made(savings, token, 'left', now)
  return {job.settled and 0 or -1}
end
local went_on = by_holder and job.settled and job.caller_left  -- its own caller has left
if job.settled and not went_on then return {0} end
local caller_left = went_on and redis.call('EXISTS', RESULT_META .. id) == 1  -- not forgotten
-- A cache hit has a result and no record.
if not job.state and redis.call('EXISTS', RESULT_META .. id) == 1 then return {0} end
local leaves_group = not by_holder and job.token
if leaves_group and not (settle_for == 'caller' and fingerprint and not job.canvas
    and leads(fingerprint, id, job.token) and others_wait(fingerprint, id)) then
  return {-1}
end
-- Before any SET, as in renew.lua: a Redis that is full takes the results of what runs.
redis.call('ZREM', DEADLINES, id)
redis.call('SREM', UNANSWERED, id)

-- --- An answer for the waiters only ---
local leading = by_holder and fingerprint and leads(fingerprint, id, token)
if settle_for == 'waiters' then
  if not leading then return {0} end
  local answered, open = fan_out(fingerprint, id, ending, now)
  cache_answer(fingerprint, ending, now)
  count('generated_tokens', ending.completion_tokens)
  enter_made(savings, token, 'answered', now)
  return {1, open, unpack(answered)}
end

-- --- This job's own end ---
local message = keep_letter and find_message(id, job.tag, fingerprint)
if not caller_left then
  announce(id, before .. ending.text .. after, ending.kept_seconds)
  owe(id, job, follows, now)
  -- Also without a record: the next step of a chain can fail before it is sent.
  mark_ended(record, by_holder and token or '1', ending, job.webhook, now)
  local origin = job.state == 'joined' and 'joined' or ending.origin
  -- Once, also where the result of a job that went on was forgotten.
  if not went_on then count_end(origin, elapsed(job.submitted_ms, now), ending, now) end
end
if leaves_group then
  leave_running(id, record, fingerprint, ending, now)
  if keep_letter then bury(id, message, now, last_text) end
  return {1}
end
remove_message(id, job.tag)
redis.call('HDEL', record, 'token', 'tag', 'caller_left')
if caller_left then redis.call('HSET', record, 'settled', token) end
redis.call('DEL', HANDOFF .. id)
if ending.error ~= '' then
  count_undelivered(ending)
elseif ending.origin == 'misses' then
  count('generated_tokens', ending.completion_tokens)
end
-- What a job in a canvas gave its waiters before it failed is no waste.
local how = ending.error == '' and 'answered' or job.canvas and 'left' or 'failed'
enter_made(savings, token, how, now, true)

-- --- The others, the cache, dead letters ---
local followers, open = {}, ''
ending.letter_due = keep_letter and caller_left and last_text or nil
if fingerprint then
  redis.call('ZREM', WAITERS .. fingerprint, id)
  local given_up = ending.error == 'crashed_too_often' and not leader_of(fingerprint)
  if settle_for == 'everyone' and (leading or given_up) then
    followers, open = fan_out(fingerprint, id, ending, now)
  elseif leading then
    disband(fingerprint)
  else
    detach(fingerprint, id)
  end
end
if leading and ending.error == '' then cache_answer(fingerprint, ending, now) end
if keep_letter and not caller_left then bury(id, message, now, last_text) end
drop_old_letters(now, tonumber(letters_bytes))
return {1, open, unpack(followers)}
