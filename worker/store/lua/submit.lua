-- Admits one job: refuses an id that exists, answers it from the cache, refuses it when its queue
-- is full, or writes its record. An id whose job has ended and whose result is gone does not exist.
-- ARGV[1] task id
-- ARGV[2] nonce of this call: one that is repeated, as its reply was lost, has the same; the task
--         id where that was made up for this call
-- ARGV[3] kind
-- ARGV[4] queue
-- ARGV[5] most jobs of its backlog; 0 = no limit
-- ARGV[6] deadline, ms from now
-- ARGV[7] lifetime of a result, s
-- ARGV[8] 1 if others wait for the job in a canvas: a worker has to end it
-- ARGV[9] model as the consensus names it; "" = no cache and no single flight
-- ARGV[10] what the caller takes for the consensus on that model
-- ARGV[11] fingerprint, made with that, or ""
-- ARGV[12] lifetime of a result from the cache, s
-- ARGV[13] what stands before the answer in such a result
-- ARGV[14] what stands after it
-- ARGV[15] most bytes of the queue's backlog; 0 = no limit
-- ARGV[16] model that a worker has to serve, as the consensus names it
-- ARGV[17] 1 if its text is to be read while it is written
-- ARGV[18] its tenant, "" for none
-- Returns {"queue", 0}, {"exists", 0}, {"full", jobs, bytes} of the backlog, {"hit", answer} when
-- the result is stored, or {"stale", consensus} when nothing was done as the caller was wrong
-- about it.
-- uses: CACHE, CONSENSUS, DEADLINES, JOB_RECORD, QUEUE_LIST, RESULT_CHANNEL, RESULT_META, STATS
-- uses: STATS_SECONDS, backlog_of, clock, drop_letter, end_event, enter_in_row, join_backlog
-- uses: leave_backlog, row_of, sent_event, server_time, tell_flower, whole
local id, nonce, kind, queue, max_length = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local deadline_ms, kept_seconds, in_canvas = ARGV[6], ARGV[7], ARGV[8] == '1'
local model, consensus, fingerprint = ARGV[9], ARGV[10], ARGV[11]
local hit_seconds, before, after, max_bytes = ARGV[12], ARGV[13], ARGV[14], ARGV[15]
local needed_model, is_streamed, tenant = ARGV[16], ARGV[17] == '1', ARGV[18]
local record, result_key = JOB_RECORD .. id, RESULT_META .. id

local is_over = false  -- there is a record of no use to anybody
if redis.call('EXISTS', record, result_key) > 0 then
  local earlier, put, settled, token = unpack(
    redis.call('HMGET', record, 'nonce', 'put', 'settled', 'token'))
  if settled then
    -- Its result has expired or was forgotten: a caller would wait for it forever.
    is_over = not token and redis.call('EXISTS', result_key) == 0
    if not is_over then return {'exists', 0} end
  else
    if not earlier or put then return {'exists', 0} end
    if earlier == nonce then return {'queue', 0} end  -- the same call again
    is_over = true  -- left by a caller that died before it put the message
  end
end

local function clear()
  if not is_over then return end
  redis.call('DEL', record)
  redis.call('ZREM', DEADLINES, id)
  leave_backlog(id)
  drop_letter(id)  -- the new call takes its place
end

if model == '' then
  fingerprint = ''
else
  local current = redis.call('HGET', CONSENSUS, model) or ''
  if current ~= consensus then return {'stale', current} end
end
local entry = fingerprint ~= '' and not in_canvas and redis.call('GET', CACHE .. fingerprint)
if entry then
  local prompt, completion, paid_prompt, paid_completion, of_model, route, place =
    string.match(entry, '^(%d+) (%d+) (%d+) (%d+) (%S*) (%S*) ()')
  local answer = string.sub(entry, place)
  local result = before .. answer .. after
  clear()
  redis.call('SET', result_key, result, 'EX', hit_seconds)
  -- Nobody can listen for an id that was made up just now. A hit leaves nothing but its result.
  if nonce ~= id then redis.call('PUBLISH', RESULT_CHANNEL .. id, result) end
  -- Not by shared functions: a repeated question is to cost next to nothing.
  redis.call('HINCRBY', STATS, 'hits_at_call', 1)
  redis.call('HINCRBY', STATS, 'delivered_prompt_tokens', paid_prompt)
  redis.call('HINCRBY', STATS, 'delivered_completion_tokens', paid_completion)
  redis.call('HINCRBY', STATS, 'cached_prompt', prompt)
  redis.call('HINCRBY', STATS, 'cached_completion', completion)
  redis.call('EXPIRE', STATS, STATS_SECONDS)
  enter_in_row(row_of({route = route, tenant = tenant}, of_model), {
    'cached', 1, 'cached_prompt', prompt, 'cached_completion', completion,
    'delivered_prompt', paid_prompt, 'delivered_completion', paid_completion,
  }, server_time())
  tell_flower(id, sent_event(kind, queue), end_event(''))
  return {'hit', answer}
end

local most_jobs, most_bytes = tonumber(max_length), tonumber(max_bytes)
local jobs, bytes = backlog_of(queue)
jobs = math.max(jobs, redis.call('LLEN', QUEUE_LIST .. queue))  -- also what nobody admitted
if most_jobs > 0 and jobs >= most_jobs or most_bytes > 0 and bytes >= most_bytes then
  return {'full', jobs, bytes}
end
clear()
join_backlog(id, queue, 0)  -- `put` knows how large its message is
local now = clock()
local deadline = whole(now + deadline_ms)
redis.call('HSET', record, 'kind', kind, 'queue', queue, 'state', 'queued', 'nonce', nonce,
  'submitted_ms', whole(now), 'deadline_ms', deadline, 'model', needed_model)
if in_canvas then redis.call('HSET', record, 'canvas', '1') end
if is_streamed then redis.call('HSET', record, 'stream', '1') end
if fingerprint ~= '' then redis.call('HSET', record, 'fingerprint', fingerprint) end
if tenant ~= '' then redis.call('HSET', record, 'tenant', tenant) end
redis.call('PEXPIRE', record, whole(deadline_ms + kept_seconds * 1000))
redis.call('ZADD', DEADLINES, deadline, id)
return {'queue', 0}
