-- Looks through the queues, the next messages first, for those of jobs that a worker has only to
-- end, and brings them to where one finds them. Each call looks at the next few, from where the
-- last one stopped.
-- ARGV[1] most messages to look at
-- ARGV[2] bytes of messages after which it looks at no more
-- ARGV[3] pause after all queues, ms: what was missed, as messages moved meanwhile, is found then
-- ARGV[4..] queues
-- Returns how many messages it looked at; 0 when nothing is sought, or during the pause.
-- uses: JOB_RECORD, QUARANTINE, QUEUE_LIST, SIFTING, SOUGHT, clock, decode, is_to_end, push_to_end
-- uses: read, whole
local most, most_bytes, pause_ms = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local queues = {unpack(ARGV, 4)}

if redis.call('SCARD', SOUGHT) == 0 then return 0 end
local at, now = read(SIFTING, 'list', 'place', 'again_ms'), clock()
if now < tonumber(at.again_ms or 0) then return 0 end
local lists = {}
for _, queue in ipairs(queues) do
  table.insert(lists, {key = QUARANTINE .. queue, queue = queue})
  table.insert(lists, {key = QUEUE_LIST .. queue, queue = queue})
end

local function is_sought(id)
  return redis.call('SISMEMBER', SOUGHT, id) == 1
end

-- Returns the id of a message that is sought; nil for another. Only a message that holds such an id
-- somewhere is decoded: to decode a long one takes milliseconds.
local function sought_id(raw)
  local from, found = 1, false
  repeat
    local _, last = string.find(raw, '"id"', from, true)
    if not last then return nil end
    local id = string.match(raw, '^%s*:%s*"([^"]*)"', last + 1)
    found, from = id and (string.find(id, '\\', 1, true) or is_sought(id)), last + 1
  until found
  local message = decode(raw)
  return message and is_sought(message.headers.id) and message.headers.id or nil
end

-- Sets one message aside. Returns false when it stays: its job has ended, or is held already.
local function set_aside(list, raw)
  local id = sought_id(raw)
  if not id then return false end
  local record = JOB_RECORD .. id
  local job = read(record, 'settled', 'token')
  redis.call('SREM', SOUGHT, id)
  if job.settled or job.token or not is_to_end(record) then return false end
  redis.call('LREM', list.key, -1, raw)
  push_to_end(record, list.queue, raw)
  return true
end

-- Stops seeking jobs that have found their end without this script.
local function forget_ended()
  for _, id in ipairs(redis.call('SRANDMEMBER', SOUGHT, 1000)) do
    local job = read(JOB_RECORD .. id, 'state', 'settled', 'token', 'to_end')
    if not job.state or job.settled or job.token or job.to_end then
      redis.call('SREM', SOUGHT, id)
    end
  end
end

local number, place, looked, bytes = tonumber(at.list or 1), tonumber(at.place or 0), 0, 0
while number <= #lists and looked < most and bytes < most_bytes do
  local list = lists[number]
  local raw = redis.call('LINDEX', list.key, -1 - place)
  if not raw then
    number, place = number + 1, 0
  else
    looked, bytes = looked + 1, bytes + string.len(raw)
    if not set_aside(list, raw) then place = place + 1 end
  end
end
if number > #lists then
  forget_ended()
  redis.call('HSET', SIFTING, 'again_ms', whole(now + pause_ms))
  number, place = 1, 0
end
redis.call('HSET', SIFTING, 'list', number, 'place', place)
redis.call('EXPIRE', SIFTING, 3600)
return looked
