-- Keeps vectors of texts, each once; those that end first make room.
-- ARGV[1] lifetime, s; 0 = nothing is kept
-- ARGV[2], ARGV[3] largest entry and all entries, bytes
-- ARGV[4..] name, vector (JSON), name, vector, ...
-- Returns how many are new.
-- uses: VECTOR, VECTOR_BYTES, VECTOR_INDEX, clock, keep_entry
local seconds, entry_bytes, total_bytes = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local bounds = {seconds = seconds, entry_bytes = entry_bytes, total_bytes = total_bytes}
local given = {unpack(ARGV, 4)}
local place = {entries = VECTOR, index = VECTOR_INDEX, bytes = VECTOR_BYTES}
local now, new = clock(), 0
for at = 1, #given, 2 do
  local name, vector = unpack(given, at, at + 1)
  if keep_entry(place, name, vector, bounds, now) then new = new + 1 end
end
return new
