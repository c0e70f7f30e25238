-- Fields of hashes, by name.

-- Reads fields of a hash: `read(record, 'token').token`. A missing field is nil.
local function read(key, ...)
  local values, fields = redis.call('HMGET', key, ...), {}
  for place, field in ipairs({...}) do
    fields[field] = values[place] or nil
  end
  return fields
end

-- Raises a count of a job to that of another job that did the same work.
local function raise_to(record, field, number)
  if number > tonumber(redis.call('HGET', record, field) or 0) then
    redis.call('HSET', record, field, number)
  end
end
