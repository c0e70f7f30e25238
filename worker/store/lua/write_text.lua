-- Adds to the text of a run, for those who read it while it is written, and tells them.
-- ARGV[1] task id
-- ARGV[2] fencing token
-- ARGV[3] fingerprint of the group that the job leads; "" for a job that runs for itself
-- ARGV[4] bytes of the text that are to be there
-- ARGV[5] how many characters these are
-- ARGV[6] what comes after them
-- ARGV[7] 1 if the text is complete with that
-- ARGV[8] number of the text in its run, from 0
-- Returns 1; 0 when the run is over, as the job is not held, or does not lead, under this token; -1
-- when what is to be there is not: the whole text is to be written again. A call that is repeated,
-- as its reply was lost, adds nothing.
-- uses: JOB_RECORD, RUN_CHARACTERS, TEXT, TEXT_CHANNEL, TEXT_SECONDS, leads, run_of
local id, token, fingerprint, at, characters = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local text, flag = ARGV[6], ARGV[7] == '1' and 'c' or 'w'
local shares, run = fingerprint ~= '', run_of(token, tonumber(ARGV[8]))
local place = shares and fingerprint or id
local key = TEXT .. place

local is_current = shares and leads(fingerprint, id, token)
  or not shares and redis.call('HGET', JOB_RECORD .. id, 'token') == token
if not is_current then return 0 end
local is_there = redis.call('GETRANGE', key, 1, RUN_CHARACTERS) == run
local bytes = is_there and redis.call('STRLEN', key) - 1 - RUN_CHARACTERS or 0
local is_repeated = is_there and text ~= '' and bytes == at + string.len(text)
if at > 0 and bytes ~= at and not is_repeated then return -1 end

if at == 0 and not is_repeated and (not is_there or bytes > 0) then
  redis.call('SET', key, flag .. run .. text, 'EX', TEXT_SECONDS)
  -- Who reads the job may not know yet where its text is.
  if shares then redis.call('PUBLISH', TEXT_CHANNEL .. id, 'look') end
else
  if not is_repeated then redis.call('APPEND', key, text) end
  if flag == 'c' then redis.call('SETRANGE', key, 0, flag) end
  redis.call('EXPIRE', key, TEXT_SECONDS)
end
if text ~= '' and not is_repeated then
  redis.call('PUBLISH', TEXT_CHANNEL .. place, 't' .. run .. ' ' .. characters .. ' ' .. text)
end
return 1
