-- Fields of hashes, by name. Where one or two are read at every call, `unpack` of an HMGET into
-- locals is cheaper; a missing field is false there.

-- Reads fields of a hash: `read(record, 'token').token`. A missing field is nil.
local function read(key, ...)
  local names, fields = {...}, redis.call('HMGET', key, ...)
  for place = 1, #names do
    local value = fields[place]
    if value then fields[names[place]] = value end  -- to set a missing one to nil costs as much
  end
  return fields
end

-- Raises a count of a job to that of another job that did the same work.
local function raise_to(record, field, number)
  if number > tonumber(redis.call('HGET', record, field) or 0) then
    redis.call('HSET', record, field, number)
  end
end
