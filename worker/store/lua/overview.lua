-- Reads what a page shows of the whole service, as it is at one moment. No request and no answer.
-- ARGV[1] most failures
-- ARGV[2..] names of queues
-- Returns {counts, statistics, failures}. Counts and statistics are names and values by turns:
-- "queue:waiting" for each queue and, where it has any, "queue:jobs" and "queue:bytes" of its
-- backlog; then running, deferred, cached and cached_bytes. Failures, the newest first, are task
-- id, ms since then, kind, queue and code of the error by turns, "" where nobody knows.
-- uses: BACKLOG, CACHE_BYTES, CACHE_INDEX, DEAD_LETTERS, DEFERRED, JOB_RECORD, PARKED, QUEUE_LIST
-- uses: STATS, UNACKED_JOBS, clock, read, whole
local most_failures, queues = tonumber(ARGV[1]), {unpack(ARGV, 2)}
local now, counts, failures = clock(), redis.call('HGETALL', BACKLOG), {}

local function add(list, ...)
  for _, value in ipairs({...}) do list[#list + 1] = value end
end

for _, queue in ipairs(queues) do
  local parked = redis.call('ZCARD', PARKED .. queue)
  add(counts, queue .. ':waiting', whole(redis.call('LLEN', QUEUE_LIST .. queue) + parked))
end
add(counts, 'running', whole(redis.call('HLEN', UNACKED_JOBS)))
add(counts, 'deferred', whole(redis.call('ZCARD', DEFERRED)))
add(counts, 'cached', whole(redis.call('ZCARD', CACHE_INDEX)))
add(counts, 'cached_bytes', redis.call('GET', CACHE_BYTES) or '0')

local letters = redis.call('ZREVRANGE', DEAD_LETTERS, 0, most_failures - 1, 'WITHSCORES')
for place = 1, #letters, 2 do
  local id, died = letters[place], tonumber(letters[place + 1])
  local job = read(JOB_RECORD .. id, 'kind', 'queue', 'error')
  local ago = whole(math.max(0, now - died))
  add(failures, id, ago, job.kind or '', job.queue or '', job.error or '')
end
return {counts, redis.call('HGETALL', STATS), failures}
