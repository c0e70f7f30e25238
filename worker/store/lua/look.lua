-- Reads the results and the states of jobs, in one look.
-- ARGV[1..] task ids
-- Returns for each its result, "" where there is none, and the state in its record, "" without one.
-- uses: JOB_RECORD, RESULT_META
local found = {}
for n = 1, #ARGV do
  found[2 * n - 1] = redis.call('GET', RESULT_META .. ARGV[n]) or ''
  found[2 * n] = redis.call('HGET', JOB_RECORD .. ARGV[n], 'state') or ''
end
return found
