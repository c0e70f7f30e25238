-- Marks a batch as cancelled; its driver, or the next one, ends it.
-- ARGV[1] batch id
-- ARGV[2] time, s
-- Returns 1, also where it was marked before; 0 where it has ended or there is none.
-- uses: BATCH, BATCHES_OPEN
local id, at = ARGV[1], ARGV[2]
if not redis.call('ZSCORE', BATCHES_OPEN, id) then return 0 end
if redis.call('EXISTS', BATCH .. id) == 0 then return 0 end
redis.call('HSETNX', BATCH .. id, 'cancelling_at', at)
return 1
