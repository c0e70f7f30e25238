-- Lists a tenant's batches, the newest first.
-- ARGV[1] tag of the tenant; "" without one
-- ARGV[2] batch id after which to begin; "" for the newest
-- ARGV[3] how many at most
-- Returns {1 if there are more, id, definition, progress, when it was cancelled or "", id, ...};
-- {} where the batch to begin after is not there.
-- uses: BATCH, BATCHES
local index, after, most = BATCHES .. ARGV[1], ARGV[2], tonumber(ARGV[3])
local first = 0
if after ~= '' then
  local rank = redis.call('ZREVRANK', index, after)
  if not rank then return {} end
  first = rank + 1
end
local ids = redis.call('ZREVRANGE', index, first, first + most)
local found = {#ids > most and 1 or 0}
for place, id in ipairs(ids) do
  local definition, progress, cancelling =
    unpack(redis.call('HMGET', BATCH .. id, 'definition', 'progress', 'cancelling_at'))
  if definition and place <= most then
    for _, word in ipairs({id, definition, progress, cancelling or ''}) do
      found[#found + 1] = word
    end
  end
end
return found
