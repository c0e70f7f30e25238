-- Finds jobs that nobody attends any more: whose caller went away long enough ago, or whose process
-- has died. A process that says nothing counts as dead only after a time in which it could have
-- spoken: this script has been called all the while. A job that stays is found again after a pause.
-- ARGV[1] most jobs of either sort
-- ARGV[2] time in which a process can speak, ms
-- ARGV[3] longest gap between two calls that does not break it, ms
-- ARGV[4] pause until the same job is found again, ms
-- Returns {how many it looked at, the ids of those to cancel}.
-- uses: ATTENDANCE, ATTENDED, JOB_RECORD, ORPHANS, clock, read, whole
local most, speak_ms, longest_gap_ms, pause_ms = ARGV[1], ARGV[2] + 0, ARGV[3] + 0, ARGV[4] + 0
local now = clock()

redis.call('ZREM', ATTENDED, '')  -- a first write that needs no memory, as in renew.lua
local heard = read(ATTENDANCE, 'since', 'last')
local since = tonumber(heard.since or now)
if now - tonumber(heard.last or 0) > longest_gap_ms then since = now end
redis.call('HSET', ATTENDANCE, 'since', whole(since), 'last', whole(now))
redis.call('EXPIRE', ATTENDANCE, 3600)

local looked, to_cancel = 0, {}
local function look(set)
  local due = redis.call('ZRANGEBYSCORE', set, '-inf', whole(now), 'LIMIT', 0, most)
  looked = math.max(looked, #due)
  for _, id in ipairs(due) do
    local state, settled = unpack(redis.call('HMGET', JOB_RECORD .. id, 'state', 'settled'))
    if not state or settled then
      redis.call('ZREM', set, id)
    else
      redis.call('ZADD', set, whole(now + pause_ms), id)
      table.insert(to_cancel, id)
    end
  end
end
look(ORPHANS)
if now - since >= speak_ms then look(ATTENDED) end
return {looked, to_cancel}
