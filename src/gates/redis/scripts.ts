/**
 * TABLE of the scripts that run inside Redis. Each is one atomic step over one key, by Redis' own clock (TIME), and every
 * key it writes expires. They work on Redis 5 and later, and replicate by their effects.
 */
import { createHash } from 'node:crypto'

export type Script = { readonly lua: string /** SHA-1, what EVALSHA takes. */; readonly sha: string }

function script(lua: string): Script {
  return { lua, sha: createHash('sha1').update(lua).digest('hex') }
}

/** Redis 5 and 6 replicate by effects only when told to; a script that reads TIME must. */
const EFFECTS = `if redis.replicate_commands then redis.replicate_commands() end\n`

/** Can it be written to? Replicas and full servers answer reads. */
export const PROBE = {
  ...script(`redis.call('SET', KEYS[1], '1', 'PX', 10000) return 'sallyport'`),
  reply: 'sallyport',
} as const

/**
 * Blocks, one hash: id → `EXPIRES JSON` (milliseconds of Redis' clock), or `EXPIRES -` for one that was lifted, which is
 * remembered so that a process that still knows it does not put it back. The hash expires with its last entry.
 *
 * ARGV: mode, then for `read` nothing; for `put` and `restore` triples (id, milliseconds left, JSON); for `lift` an id.
 * `restore` leaves alone what is there. Answers [id, milliseconds left, JSON or `-`, …] of all that hold, after the change.
 * A change is published on the channel in the last argument.
 */
export const BLOCKS = script(`${EFFECTS}local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local key, mode, changed = KEYS[1], ARGV[1], false
if mode == 'put' or mode == 'restore' then
  for i = 2, #ARGV - 1, 3 do
    local value = string.format('%.0f', now + tonumber(ARGV[i + 1])) .. ' ' .. ARGV[i + 2]
    if mode == 'put' then
      redis.call('HSET', key, ARGV[i], value)
      changed = true
    elseif redis.call('HSETNX', key, ARGV[i], value) == 1 then
      changed = true
    end
  end
elseif mode == 'lift' then
  local found = redis.call('HGET', key, ARGV[2])
  if found then
    local expires = string.match(found, '^(%d+) ')
    redis.call('HSET', key, ARGV[2], expires .. ' -')
    changed = true
  end
end
local all, answer, last = redis.call('HGETALL', key), {}, 0
for i = 1, #all, 2 do
  local expires, value = string.match(all[i + 1], '^(%d+) (.*)$')
  expires = tonumber(expires or '0')
  if expires <= now then
    if mode ~= 'read' then redis.call('HDEL', key, all[i]) end
  else
    if expires > last then last = expires end
    answer[#answer + 1] = all[i]
    answer[#answer + 1] = string.format('%.0f', expires - now)
    answer[#answer + 1] = value
  end
end
if changed then
  if last > now then redis.call('PEXPIRE', key, string.format('%.0f', last - now)) end
  redis.call('PUBLISH', ARGV[#ARGV], 'changed')
end
return answer`)

/** Hash tag of a key: what decides its node in a Cluster. */
export function slotOf(key: string): string {
  const open = key.indexOf('{')
  const close = key.indexOf('}', open + 1)
  return open === -1 || close <= open + 1 ? key : key.slice(open + 1, close)
}

/**
 * A bucket by GCRA: the key holds the time at which it will be full again (microseconds since 2026, so that doubles keep
 * parts of one), and lives no longer than that.
 *
 * ARGV: microseconds per unit, burst, units needed, units wanted (≥ needed; less than 0 gives back), `take` or `charge`.
 * `take` of 0 needed asks whether there is anything left. `charge` takes whatever is there.
 * Answers [1 or 0, units granted, units left, ms until `needed` is there, ms until full, 0].
 */
export const BUCKET = script(`${EFFECTS}local time = redis.call('TIME')
local now = (time[1] - 1767225600) * 1000000 + time[2]
local per, burst, need, want = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local tau = burst * per
local full = tonumber(redis.call('GET', KEYS[1]) or now)
if full < now then full = now end
local granted, ok = 0, 1
if ARGV[5] == 'charge' then
  granted = want
else
  local there = math.floor((tau - (full - now)) / per + 0.000001)
  if need == 0 then
    if tau - (full - now) <= 0 then ok = 0 end
  elseif there >= need then
    granted = math.min(there, want)
  else
    ok = 0
  end
end
if granted ~= 0 then
  full = math.max(now, full + granted * per)
  if full > now then
    redis.call('SET', KEYS[1], string.format('%.3f', full), 'PX', string.format('%.0f', math.ceil((full - now) / 1000) + 1000))
  else
    redis.call('DEL', KEYS[1])
  end
end
local left = tau - (full - now)
if ARGV[5] == 'charge' and left <= 0 then ok = 0 end
local lacking = math.max(need, 0.000001) * per - left
return {ok, granted, math.max(0, math.floor(left / per + 0.000001)), math.max(0, math.ceil(lacking / 1000)), math.ceil((full - now) / 1000), 0}`)

/**
 * What is used of a calendar day or month (UTC, by Redis' clock): the key holds `PERIOD USED` until that is over.
 *
 * ARGV: `day` or `month`, the budget, units needed, units wanted, `take` or `charge`, and for what is given back its period.
 * Answers as BUCKET, last the period.
 */
export const BUDGET = script(`${EFFECTS}local time = redis.call('TIME')
local seconds = tonumber(time[1])
local now = seconds * 1000 + math.floor(time[2] / 1000)
local floor = math.floor
local days, period, ends = floor(seconds / 86400), 0, 0
if ARGV[1] == 'day' then
  period = days
  ends = days + 1
else
  local era = floor((days + 719468) / 146097)
  local doe = days + 719468 - era * 146097
  local yoe = floor((doe - floor(doe / 1460) + floor(doe / 36524) - floor(doe / 146096)) / 365)
  local mp = floor((5 * (doe - (365 * yoe + floor(yoe / 4) - floor(yoe / 100))) + 2) / 153)
  local month = mp < 10 and mp + 3 or mp - 9
  local year = yoe + era * 400 + (month <= 2 and 1 or 0)
  period = year * 12 + month - 1
  month = month + 1
  if month > 12 then
    month = 1
    year = year + 1
  end
  if month <= 2 then year = year - 1 end
  era = floor(year / 400)
  yoe = year - era * 400
  mp = month > 2 and month - 3 or month + 9
  ends = era * 146097 + yoe * 365 + floor(yoe / 4) - floor(yoe / 100) + floor((153 * mp + 2) / 5) - 719468
end
ends = ends * 86400000
local budget, need, want = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local known, count = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+) (%d+)$')
local used = tonumber(known) == period and tonumber(count) or 0
local granted, ok = 0, 1
if ARGV[5] == 'charge' then
  if want >= 0 or tonumber(ARGV[6]) == period then granted = math.max(want, -used) end
elseif need == 0 then
  if used >= budget then ok = 0 end
elseif budget - used >= need then
  granted = math.min(budget - used, want)
else
  ok = 0
end
if granted ~= 0 then
  used = used + granted
  redis.call('SET', KEYS[1], string.format('%.0f %.0f', period, used), 'PX', string.format('%.0f', ends - now + 60000))
end
if ARGV[5] == 'charge' and used >= budget then ok = 0 end
local enough = budget - used >= math.max(need, 1)
return {ok, granted, math.max(0, budget - used), enough and 0 or ends - now, ends - now, period}`)

/**
 * Places of which one is held at a time, each until it is renewed no more: a sorted set, holder → milliseconds at which it
 * is free again.
 *
 * ARGV: `hold`, `renew` or `release`, places, milliseconds a place is held unrenewed, holders … Answers [1 or 0, places left].
 */
export const PLACES = script(`${EFFECTS}local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local key, count, ms = KEYS[1], tonumber(ARGV[2]), tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.0f', now))
local ok = 1
for i = 4, #ARGV do
  if ARGV[1] == 'release' then
    redis.call('ZREM', key, ARGV[i])
  elseif ARGV[1] == 'renew' or redis.call('ZSCORE', key, ARGV[i]) or redis.call('ZCARD', key) < count then
    redis.call('ZADD', key, string.format('%.0f', now + ms), ARGV[i])
  else
    ok = 0
  end
end
redis.call('PEXPIRE', key, string.format('%.0f', ms))
return {ok, math.max(0, count - redis.call('ZCARD', key))}`)
