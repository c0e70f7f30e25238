-- Between two steps of a job: keeps the completion of the one that is done, writes how far the job
-- is, says whether it goes on, and looks the next step up.
-- ARGV[1] task id
-- ARGV[2] fencing token
-- ARGV[3], ARGV[4], ARGV[5] parts done, parts in all, phase; "" = nothing to say of these
-- ARGV[6], ARGV[7] name of the step that is done and what is kept of it; "" = nothing to keep
-- ARGV[8] how many steps are done, which a later run looks for; 0 = the record stays as it is
-- ARGV[9], ARGV[10], ARGV[11] lifetime of a step, s; largest step and all steps, bytes
-- ARGV[12] name of the next step; "" = not to be looked up
-- ARGV[13] worker
-- ARGV[14] number of models that the worker serves
-- ARGV[15..] these models; then the more urgent queues to yield to, none where the job may not
-- Returns {"go", what is kept of the next step or ""}; {"yield", ""} when a message waits there for
-- this worker, and the job has not yielded YIELDS_MOST times; {"cancelled", ""}; {"lost", ""} when
-- the worker does not hold the job under this token.
-- uses: JOB_RECORD, STEP, STEP_BYTES, STEP_INDEX, YIELDS_MOST, clock, is_awaited, keep_entry
-- uses: raise_to, read
local id, token, done, total, phase = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local name, entry, kept = ARGV[6], ARGV[7], tonumber(ARGV[8])
local seconds, entry_bytes, total_bytes = tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])
local next_name, worker, serves, words = ARGV[12], ARGV[13], tonumber(ARGV[14]), {unpack(ARGV, 15)}
local models, queues = {unpack(words, 1, serves)}, {unpack(words, serves + 1)}
local record, now, served = JOB_RECORD .. id, clock(), {}
for _, model in ipairs(models) do served[model] = true end

local job = read(record, 'token', 'yields', 'cancelled')
if job.token ~= token then return {'lost', ''} end
if job.cancelled then return {'cancelled', ''} end
if name ~= '' then
  local place = {entries = STEP, index = STEP_INDEX, bytes = STEP_BYTES}
  local bounds = {seconds = seconds, entry_bytes = entry_bytes, total_bytes = total_bytes}
  keep_entry(place, name, entry, bounds, now)
end
if kept > 0 then raise_to(record, 'kept_steps', kept) end
if name == id .. '.' .. kept then raise_to(record, 'own_steps', kept) end
if phase ~= '' then redis.call('HSET', record, 'done', done, 'total', total, 'phase', phase) end
if tonumber(job.yields or 0) < YIELDS_MOST then
  for _, queue in ipairs(queues) do
    if is_awaited(queue, worker, models, served, now) then return {'yield', ''} end
  end
end
return {'go', next_name ~= '' and redis.call('GET', STEP .. next_name) or ''}
