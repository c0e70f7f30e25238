-- Puts a held message back: at the head of its queue, or among the deferred until it is due. Its
-- followers go the same way.
-- ARGV[1] task id
-- ARGV[2] fencing token
-- ARGV[3] delay, ms; 0 = back to the queue
-- ARGV[4] tries so far, if this counts as one; else 0. A number, as others of its group may have
--         counted the same try already
-- ARGV[5] "beside" or "alone" (others ran, or none did) if its engine died while it ran; else ""
-- ARGV[6] 1 if it makes room for a more urgent job, which counts
-- ARGV[7] JSON for the savings ledger, see Work.savings_text
-- Returns 1, or 0 when the message is not held under this token.
-- uses: JOB_RECORD, UNACKED, clock, count_engine_death, defer, disband, end_delivery, enter_made
-- uses: leads, put_back, raise_to, read, share_count, share_steps, unwrap
local id, token, delay_ms, attempts = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local engine_died, yields, savings = ARGV[5], ARGV[6] == '1', cjson.decode(ARGV[7])
local record, now = JOB_RECORD .. id, clock()

local job = read(record, 'token', 'tag', 'fingerprint', 'caller_left', 'kept_steps')
local entry = job.token == token and redis.call('HGET', UNACKED, job.tag)
enter_made(savings, token, 'left', now)
if not entry then return 0 end
local due = delay_ms > 0 and now + delay_ms or nil
raise_to(record, 'attempts', attempts)
if yields then redis.call('HINCRBY', record, 'yields', 1) end
local deaths = engine_died ~= '' and count_engine_death(record, engine_died == 'alone')
local leading = job.fingerprint and leads(job.fingerprint, id, token)
end_delivery(job.tag)
redis.call('HDEL', record, 'token', 'tag', 'worker')
if attempts > 0 and job.fingerprint then share_count(job.fingerprint, id, 'attempts', attempts) end
if deaths and job.fingerprint then share_count(job.fingerprint, id, 'engine_deaths', deaths) end
share_steps(id, job)
if leading then disband(job.fingerprint, due, attempts) end
if job.caller_left then  -- only the others go on
  redis.call('HDEL', record, 'caller_left')
elseif due then
  defer(id, (unwrap(entry)), due)
  redis.call('HSET', record, 'state', 'deferred')
else
  put_back(record, entry)
end
return 1
