-- Admit one job: refuse an id that exists, answer it from the cache, refuse a full queue, or write
-- its record.
-- ARGV[1] task id   ARGV[2] nonce of this call: one that is repeated because its reply was lost is
-- not a second one; the id itself where it was made up for this call
-- ARGV[3] kind   ARGV[4] queue   ARGV[5] most jobs in it, 0 = no limit
-- ARGV[6] deadline, ms from now   ARGV[7] lifetime of an answer, s
-- ARGV[8] 1 if others wait for it in a canvas: a worker has to end it
-- ARGV[9] model as in the table of what workers agree on; "" = no cache and no joining
-- ARGV[10] what the caller takes them to agree on   ARGV[11] fingerprint made with that, or ""
-- ARGV[12] lifetime of a result from the cache, s   ARGV[13] result before the answer
-- ARGV[14] result after it
-- Returns {"queue" | "exists", 0}, {"full", length of the queue}, {"hit", answer} when the result is
-- stored, or {"stale", what workers agree on} when nothing was done as the caller was wrong.
local id, record, queue = ARGV[1], JOB_RECORD .. ARGV[1], ARGV[4]
if redis.call('EXISTS', record, RESULT_META .. id) > 0 then
  local seen = redis.call('HMGET', record, 'nonce', 'put', 'settled')
  if not seen[1] or seen[2] or seen[3] then return {'exists', 0} end
  if seen[1] == ARGV[2] then return {'queue', 0} end  -- the same call again
  redis.call('DEL', record)  -- an earlier one that died before its message was put
  redis.call('ZREM', DEADLINES, id)
end
local fingerprint = ''
if ARGV[9] ~= '' then
  local agreed = redis.call('HGET', CONSENSUS, ARGV[9]) or ''
  if agreed ~= ARGV[10] then return {'stale', agreed} end
  fingerprint = ARGV[11]
end
local entry = fingerprint ~= '' and ARGV[8] ~= '1' and redis.call('GET', CACHE .. fingerprint)
if entry then
  local prompt_tokens, completion_tokens, at = string.match(entry, '^(%d+) (%d+) ()')
  local answer = string.sub(entry, at)
  local result = ARGV[13] .. answer .. ARGV[14]
  redis.call('SET', RESULT_META .. id, result, 'EX', ARGV[12])
  -- Nobody can wait for an id that nobody knows yet. The result is all there is of this job.
  if ARGV[2] ~= id then redis.call('PUBLISH', RESULT_META .. id, result) end
  redis.call('HINCRBY', STATS, 'hits_at_call', 1)
  redis.call('HINCRBY', STATS, 'delivered_prompt_tokens', prompt_tokens)
  redis.call('HINCRBY', STATS, 'delivered_completion_tokens', completion_tokens)
  redis.call('EXPIRE', STATS, STATS_SECONDS)
  return {'hit', answer}
end
local length, most = redis.call('LLEN', QUEUE_LIST .. queue), tonumber(ARGV[5])
if most > 0 and length >= most then return {'full', length} end
local now = clock()
local deadline = whole(now + tonumber(ARGV[6]))
redis.call('HSET', record, 'kind', ARGV[3], 'queue', queue, 'state', 'queued', 'nonce', ARGV[2],
  'submitted_ms', whole(now), 'deadline_ms', deadline)
if ARGV[8] == '1' then redis.call('HSET', record, 'canvas', '1') end
if fingerprint ~= '' then redis.call('HSET', record, 'fingerprint', fingerprint) end
redis.call('PEXPIRE', record, whole(tonumber(ARGV[6]) + tonumber(ARGV[7]) * 1000))
redis.call('ZADD', DEADLINES, deadline, id)
return {'queue', 0}
