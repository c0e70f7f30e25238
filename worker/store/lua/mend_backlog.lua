-- Takes jobs out of the backlog that have ended all the same: by a worker of an older version that
-- knows no backlog, or as their record expired. It looks at a few, picked at random.
-- ARGV[1] how many to look at
-- Returns how many were taken out.
-- uses: BACKLOG_JOBS, JOB_RECORD, leave_backlog
local most, mended = ARGV[1], 0

for _, id in ipairs(redis.call('HRANDFIELD', BACKLOG_JOBS, most)) do
  local state, settled = unpack(redis.call('HMGET', JOB_RECORD .. id, 'state', 'settled'))
  if settled or not state then
    leave_backlog(id)
    mended = mended + 1
  end
end
return mended
