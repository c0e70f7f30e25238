-- Puts a new message into its queue and wakes a worker; with a delay, among the deferred. In its
-- queue the job is among the waiters of its fingerprint: whoever runs the same answers it too.
-- ARGV[1] queue
-- ARGV[2] message
-- ARGV[3] task id
-- ARGV[4] delay, ms; 0 = none
-- ARGV[5] lifetime of a result, s
-- ARGV[6] most bytes of the queue's backlog; 0 = no limit
-- ARGV[7] nonce of the submit, or ""; of two calls under one id the first to put has the job
-- Returns 1, or 0 when the job was put before (the reply was lost) or has its result already
-- (somebody cancelled it by an id that its caller had chosen, or its time was over). For a message
-- that is too much for the backlog, {jobs, bytes} that are there.
-- uses: JOB_RECORD, QUEUE_LIST, add_waiter, backlog_of, clock, defer, join_backlog, ring
-- uses: sent_event, tell_flower, want_text
local queue, message, id = ARGV[1], ARGV[2], ARGV[3]
local delay_ms, kept_ms, most_bytes = tonumber(ARGV[4]), ARGV[5] * 1000, tonumber(ARGV[6])
local record, nonce = JOB_RECORD .. id, ARGV[7]

local known = redis.call('EXISTS', record) == 1
if known and redis.call('HSETNX', record, 'put', '1') == 0 then return 0 end
local settled, fingerprint, deadline, kind, its_nonce, stream = unpack(
  redis.call('HMGET', record, 'settled', 'fingerprint', 'deadline_ms', 'kind', 'nonce', 'stream'))
if settled then return 0 end
if its_nonce and nonce ~= '' and its_nonce ~= nonce then
  redis.call('HSET', record, 'nonce', nonce)
end
local jobs, bytes = backlog_of(queue)
if most_bytes > 0 and bytes + string.len(message) > most_bytes then
  if known then redis.call('HDEL', record, 'put') end
  return {jobs, bytes}
end
join_backlog(id, queue, string.len(message))
if kind then tell_flower(id, sent_event(kind, queue)) end
if delay_ms > 0 then
  defer(id, message, clock() + delay_ms)
  if known then redis.call('HSET', record, 'state', 'deferred', 'queue', queue) end
  return 1
end
if fingerprint then add_waiter(fingerprint, id, deadline, kept_ms, clock()) end
if fingerprint and stream then want_text(fingerprint, deadline + kept_ms, clock()) end
redis.call('LPUSH', QUEUE_LIST .. queue, message)
ring()
return 1
