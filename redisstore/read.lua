-- Reads the document at KEYS[1].
-- ARGV: 1 the revision and 2 the epoch that the caller knows ('0' and '' for none), 3 '1' to leave the contents out.
-- Answers {status, revision, epoch, server time in µs[, log, data]}; the status is 'same' or 'news'.
-- %.0f, because tostring rounds a number of this size to 14 digits.
local t = redis.call('TIME')
local now = string.format('%.0f', t[1] * 1000000 + t[2])
local doc = redis.call('HMGET', KEYS[1], 'rev', 'epoch')
local rev, epoch = doc[1] or '0', doc[2] or ''
if rev == ARGV[1] and epoch == ARGV[2] then
  return {'same', rev, epoch, now}
end
if ARGV[3] == '1' then
  return {'news', rev, epoch, now}
end
doc = redis.call('HMGET', KEYS[1], 'log', 'data')
return {'news', rev, epoch, now, doc[1] or '', doc[2] or ''}
