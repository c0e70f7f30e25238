-- Take messages away from workers that have not renewed their lease: a crash each. What has joined
-- one goes back to its queue, and shares the crash: identical jobs are equally dangerous.
-- ARGV[1] lease, seconds   ARGV[2] crashes at which a job is given up   ARGV[3] most to sweep
-- Returns the ids that were swept. One that is given up goes to the dead letters; who sweeps stores
-- its failure (it stays among the unanswered until that is done).
local now = clock()
local expired = redis.call('ZRANGEBYSCORE', UNACKED_INDEX, '-inf',
  string.format('%.3f', now / 1000 - tonumber(ARGV[1])), 'LIMIT', 0, ARGV[3])
local swept = {}

for _, tag in ipairs(expired) do
  local entry, id = redis.call('HGET', UNACKED, tag), redis.call('HGET', UNACKED_JOBS, tag)
  end_delivery(tag)
  local record = JOB_RECORD .. (id or '')
  local seen = redis.call('HMGET', record, 'tag', 'token', 'settled', 'fingerprint', 'caller_left')
  if entry and id and seen[1] == tag and (not seen[3] or seen[5]) then
    local crashes = redis.call('HINCRBY', record, 'crashes', 1)
    local leading = seen[4] and leads(seen[4], id, seen[2])
    redis.call('HDEL', record, 'token', 'tag', 'worker', 'caller_left')
    if redis.call('PTTL', record) == -1 then redis.call('EXPIRE', record, 86400) end
    if leading then
      share(seen[4], id, 'crashes', crashes)
      disband(seen[4], nil, nil, crashes)
    end
    local most = tonumber(ARGV[2])
    -- One that others wait for in a canvas is given to a worker once more, to fail there: only with
    -- the message in hand can Celery tell a chord or the next steps of a chain.
    if redis.call('HEXISTS', record, 'canvas') == 1 then most = most + 1 end
    if seen[5] then  -- its caller has left: only the others go on
      crashes = nil
    elseif crashes >= most then
      redis.call('ZADD', DEAD_LETTERS, whole(now), id)
      redis.call('HSET', DEAD_LETTER_MESSAGES, id, (opened(entry)))
      redis.call('SADD', UNANSWERED, id)
      redis.call('HSET', record, 'state', 'failed', 'error', 'crashed_too_often')
    else
      local raw, queue = opened(entry)
      redis.call('LPUSH', QUARANTINE .. queue, raw)
      redis.call('HSET', record, 'state', 'queued')
      ring()
    end
    table.insert(swept, id)
  end
end
return swept
