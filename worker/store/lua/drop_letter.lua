-- Throws one dead letter away; the failure of its job stays.
-- ARGV[1] task id
-- Returns 1, or 0 when there is no such letter.
-- uses: DEAD_LETTERS, drop_letter
local id = ARGV[1]

local known = redis.call('ZSCORE', DEAD_LETTERS, id)
drop_letter(id)
return known and 1 or 0
