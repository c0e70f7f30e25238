-- Between two steps of a job: keeps the completion of the one that is done, writes how far the job
-- is, says whether it goes on, and looks the next step up.
-- ARGV[1] task id
-- ARGV[2] fencing token
-- ARGV[3], ARGV[4], ARGV[5] parts done, parts in all, phase; "" = nothing to say of these
-- ARGV[6], ARGV[7] name of the step that is done and what is kept of it; "" = nothing to keep
-- ARGV[8] 1 if that is of this job alone
-- ARGV[9] how many steps are done, which a later run looks for; 0 = the record stays as it is
-- ARGV[10], ARGV[11], ARGV[12] lifetime of a step, s; largest step and all steps, bytes
-- ARGV[13] name of the next step; "" = not to be looked up
-- ARGV[14], ARGV[15] fingerprint of the group that it leads, or its task id, and the rates by which
--          whoever goes on with that work sizes its prompts; "" = nothing to keep
-- ARGV[16] worker
-- ARGV[17] JSON for the savings ledger, see Work.savings_text: what the run has cost so far
-- ARGV[18] number of models that the worker serves
-- ARGV[19..] these models; then the more urgent queues to yield to, none where the job may not
-- Returns {"go", what is kept of the next step or ""}; {"yield", ""} when a message waits there for
-- this worker, and the job has not yielded YIELDS_MOST times; {"cancelled", ""}; {"lost", ""} when
-- the worker does not hold the job under this token.
-- uses: FIXED_RATES, JOB_RECORD, STEP, YIELDS_MOST, clock, enter_made, is_awaited, keep_step
-- uses: raise_to, read
local id, token, done, total, phase = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local step, kept = {name = ARGV[6], entry = ARGV[7], is_own = ARGV[8] == '1'}, tonumber(ARGV[9])
local seconds, entry_bytes, total_bytes = tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12])
local next_name, place, rates, worker = ARGV[13], ARGV[14], ARGV[15], ARGV[16]
local savings, serves, words = cjson.decode(ARGV[17]), tonumber(ARGV[18]), {unpack(ARGV, 19)}
local models, queues = {unpack(words, 1, serves)}, {unpack(words, serves + 1)}
local record, now, served = JOB_RECORD .. id, clock(), {}
for _, model in ipairs(models) do served[model] = true end

local job = read(record, 'token', 'yields', 'cancelled')
if job.token ~= token then return {'lost', ''} end
if job.cancelled then return {'cancelled', ''} end
if step.name ~= '' then
  local bounds = {seconds = seconds, entry_bytes = entry_bytes, total_bytes = total_bytes}
  keep_step(id, step, bounds, now)
  enter_made(savings, token, 'noted', now)
end
if rates ~= '' then redis.call('SET', FIXED_RATES .. place, rates, 'EX', seconds, 'NX') end
if kept > 0 then raise_to(record, 'kept_steps', kept) end
if phase ~= '' then redis.call('HSET', record, 'done', done, 'total', total, 'phase', phase) end
if tonumber(job.yields or 0) < YIELDS_MOST then
  for _, queue in ipairs(queues) do
    if is_awaited(queue, worker, models, served, now) then return {'yield', ''} end
  end
end
return {'go', next_name ~= '' and redis.call('GET', STEP .. next_name) or ''}
