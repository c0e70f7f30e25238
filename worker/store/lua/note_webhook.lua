-- Notes whom to tell of a job's end, and has it told at once of a job that has ended, as a cache
-- hit has.
-- ARGV[1] task id
-- ARGV[2] "job" or "response", the host, and the URL, with spaces between
-- Returns 1, or 0 when there is no such job.
-- uses: JOB_RECORD, RESULT_META, clock, read, tell_webhook, whole
local id, webhook = ARGV[1], ARGV[2]
local record, now = JOB_RECORD .. id, clock()

local result = redis.call('GET', RESULT_META .. id)
local job = read(record, 'state', 'settled', 'webhook')
if job.state then
  redis.call('HSET', record, 'webhook', webhook)
  if job.settled and job.webhook ~= webhook then
    tell_webhook(webhook, id, job.state, result or '{}', whole(now), now)
  end
elseif result then
  tell_webhook(webhook, id, 'succeeded', result, '', now)
else
  return 0
end
return 1
