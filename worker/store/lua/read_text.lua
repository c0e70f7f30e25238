-- Looks at a job for one who reads its text: where the job is, its result, and what is new of the
-- text of the run that counts. That is the run which the job waits for now, be it another job's; of
-- a job with a result, the one that its result comes from.
-- ARGV[1] task id
-- ARGV[2] run that the reader has read so far, or ""
-- ARGV[3] how many bytes of its text
-- Returns {state or "", 1 if it has its result, the result or "" where that was forgotten,
-- fingerprint or "", run or "", 1 if its text is complete, bytes before what comes next, text}.
-- Without a state and a result there is no such job; a run is named only where its text is there.
-- uses: GROUP, JOB_RECORD, RESULT_META, RUN_CHARACTERS, TEXT, is_same_run, leader_of, read, run_of
local id, known_run, known_bytes = ARGV[1], ARGV[2], tonumber(ARGV[3])
local job = read(JOB_RECORD .. id, 'state', 'token', 'fingerprint', 'settled', 'run', 'error')
local result = redis.call('GET', RESULT_META .. id)
local has_ended = job.settled or not job.state and result

local function current_run()
  -- What a failure left of a text is read to its end; an answer comes from a run that is known.
  if has_ended then return job.run or job.error and known_run or '' end
  if job.token then return run_of(job.token) end
  local is_led = job.fingerprint and leader_of(job.fingerprint)
  return is_led and run_of(redis.call('HGET', GROUP .. job.fingerprint, 'token')) or ''
end

local run, found = current_run(), ''
local function reply(key, flag, from)
  local text = from and redis.call('GETRANGE', key, 1 + RUN_CHARACTERS + from, -1)
  return {job.state or '', has_ended and 1 or 0, has_ended and result or '', job.fingerprint or '',
    from and run or '', flag == 'c' and 1 or 0, from or 0, text or ''}
end

for _, place in ipairs(run == '' and {} or {job.fingerprint or id, id}) do
  found = redis.call('GETRANGE', TEXT .. place, 0, RUN_CHARACTERS)
  local bytes = redis.call('STRLEN', TEXT .. place) - 1 - RUN_CHARACTERS
  if is_same_run(string.sub(found, 2), run) then
    run = string.sub(found, 2)
    local goes_on = run == known_run and known_bytes <= bytes
    return reply(TEXT .. place, string.sub(found, 1, 1), goes_on and known_bytes or 0)
  end
end
return reply()
