-- Replaces the document at KEYS[1] if it still is the one that the caller decided on.
-- ARGV: 1 the revision and 2 the epoch decided on ('0' and '' for no document), 3 the operation's id, 4 the new
-- epoch, 5 the least new revision, 6 the server time in µs that the decision took for now, 7 how many µs it may be
-- wrong, 8 the key's life in ms, 9 the channel to tell, 10 how many µs an operation may be sent again, 11 the new data.
-- Answers {status, revision, epoch, server time in µs[, log, data]}; the status is
--   'done': committed, now or when this operation was sent before and its answer was lost
--   'news': another document stands there, with it
--   'late': the decision is too old (or the server's clock stepped); nothing changed
local t = redis.call('TIME')
local us = t[1] * 1000000 + t[2]
local now = string.format('%.0f', us)
local doc = redis.call('HMGET', KEYS[1], 'rev', 'epoch', 'log')
local rev, epoch, log = doc[1] or '0', doc[2] or '', doc[3] or ''
local sent = string.find(log, ':' .. ARGV[3] .. ';', 1, true)
if sent then
  local earlier = string.match(string.sub(log, math.max(1, sent - 16), sent - 1), '%d+$')
  redis.call('PEXPIRE', KEYS[1], ARGV[8]) -- a write, so that a WAIT on this connection means something
  return {'done', earlier, ARGV[4], now}
end
if rev ~= ARGV[1] or epoch ~= ARGV[2] then
  return {'news', rev, epoch, now, log, redis.call('HGET', KEYS[1], 'data') or ''}
end
if math.abs(us - tonumber(ARGV[6])) > tonumber(ARGV[7]) then
  return {'late', rev, epoch, now}
end
rev = string.format('%.0f', math.max(us, tonumber(ARGV[5])))

-- The log keeps the newest 32 commits, and up to 500 of those whose sender may still ask again.
local entry = rev .. ':' .. ARGV[3] .. ';'
log = entry .. log
local kept, most, since = 32 * #entry, 500 * #entry, us - tonumber(ARGV[10])
while kept < most and (tonumber(string.sub(log, kept + 1, kept + #rev)) or 0) > since do
  kept = kept + #entry
end
log = string.sub(log, 1, kept)

redis.call('HSET', KEYS[1], 'rev', rev, 'epoch', ARGV[4], 'log', log, 'data', ARGV[11])
redis.call('PEXPIRE', KEYS[1], ARGV[8])
redis.pcall('PUBLISH', ARGV[9], rev) -- a hint only: a user who may not publish still commits
return {'done', rev, ARGV[4], now}
