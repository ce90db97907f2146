/**
 * `%START_TIME(…)%`: a strftime-like format compiled once (Envoy docs, access_log/usage.rst; absl::FormatTime). In core
 * because access logs and header edits share it. Always UTC, as in Envoy. Conversions we do not know are an error, never
 * printed as they are.
 */

/** A format that cannot be compiled; the message says why. */
export class TimeFormatError extends Error {
  override readonly name = 'TimeFormatError'
}

type Part = string | ((at: Date, ms: number) => string)

const DAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'] as const
const MONTHS = [
  'January',
  'February',
  'March',
  'April',
  'May',
  'June',
  'July',
  'August',
  'September',
  'October',
  'November',
  'December',
] as const

const two = (value: number) => String(value).padStart(2, '0')
const hour12 = (at: Date) => at.getUTCHours() % 12 || 12
const dayOfYear = (at: Date) => Math.floor((at.getTime() - Date.UTC(at.getUTCFullYear(), 0, 1)) / 86_400_000) + 1
/** Our clock has milliseconds; finer digits are zero. */
const fraction = (digits: number) => (_at: Date, ms: number) =>
  String(Math.floor(ms % 1000))
    .padStart(3, '0')
    .padEnd(9, '0')
    .slice(0, digits)

/** TABLE of conversions. `%f` is nine digits as in Envoy; `%Ez` is the RFC 3339 offset. */
const CONVERSIONS: Readonly<Record<string, (at: Date, ms: number) => string>> = {
  Y: (at) => String(at.getUTCFullYear()),
  y: (at) => two(at.getUTCFullYear() % 100),
  m: (at) => two(at.getUTCMonth() + 1),
  d: (at) => two(at.getUTCDate()),
  e: (at) => String(at.getUTCDate()).padStart(2, ' '),
  H: (at) => two(at.getUTCHours()),
  I: (at) => two(hour12(at)),
  M: (at) => two(at.getUTCMinutes()),
  S: (at) => two(at.getUTCSeconds()),
  p: (at) => (at.getUTCHours() < 12 ? 'AM' : 'PM'),
  j: (at) => String(dayOfYear(at)).padStart(3, '0'),
  a: (at) => (DAYS[at.getUTCDay()] ?? '').slice(0, 3),
  A: (at) => DAYS[at.getUTCDay()] ?? '',
  b: (at) => (MONTHS[at.getUTCMonth()] ?? '').slice(0, 3),
  h: (at) => (MONTHS[at.getUTCMonth()] ?? '').slice(0, 3),
  B: (at) => MONTHS[at.getUTCMonth()] ?? '',
  u: (at) => String(at.getUTCDay() || 7),
  w: (at) => String(at.getUTCDay()),
  T: (at) => at.toISOString().slice(11, 19),
  R: (at) => at.toISOString().slice(11, 16),
  F: (at) => at.toISOString().slice(0, 10),
  D: (at) => `${two(at.getUTCMonth() + 1)}/${two(at.getUTCDate())}/${two(at.getUTCFullYear() % 100)}`,
  s: (_at, ms) => String(Math.floor(ms / 1000)),
  z: () => '+0000',
  Ez: () => '+00:00',
  Z: () => 'UTC',
  f: fraction(9),
  n: () => ' ',
  t: () => ' ',
  '%': () => '%',
}
for (let digits = 1; digits <= 9; digits += 1) {
  Object.assign(CONVERSIONS, {
    [`${digits}f`]: fraction(digits),
    [`E${digits}f`]: fraction(digits),
    [`E${digits}S`]: (at: Date, ms: number) => `${two(at.getUTCSeconds())}.${fraction(digits)(at, ms)}`,
  })
}

/** Compiles a format. The returned function takes wall clock milliseconds since the epoch. Throws TimeFormatError. */
export function compileTimeFormat(format: string): (ms: number) => string {
  const parts: Part[] = []
  for (let i = 0; i < format.length; ) {
    if (format[i] !== '%') {
      const next = format.indexOf('%', i)
      const end = next === -1 ? format.length : next
      parts.push(format.slice(i, end))
      i = end
      continue
    }
    const key = [3, 2, 1]
      .map((length) => format.slice(i + 1, i + 1 + length))
      .find((k) => Object.hasOwn(CONVERSIONS, k))
    const conversion = key === undefined ? undefined : CONVERSIONS[key]
    if (key === undefined || conversion === undefined) {
      throw new TimeFormatError(`time format "${format}": unknown conversion "${format.slice(i, i + 2)}"`)
    }
    parts.push(conversion)
    i += 1 + key.length
  }
  return (ms) => {
    const at = new Date(ms)
    let text = ''
    for (const part of parts) text += typeof part === 'string' ? part : part(at, ms)
    return text
  }
}

/** Envoy's default: ISO 8601, UTC, milliseconds. The last text and its second's are kept: consecutive lines mostly share them. */
export function isoTime(): (ms: number) => string {
  let last = Number.NaN
  let text = ''
  let second = Number.NaN
  let prefix = ''
  return (ms) => {
    if (ms === last) return text
    const whole = Math.floor(ms)
    const now = Math.floor(whole / 1000)
    if (now !== second) {
      second = now
      prefix = new Date(now * 1000).toISOString().slice(0, 20)
    }
    const rest = whole - now * 1000
    last = ms
    text = `${prefix}${rest < 10 ? '00' : rest < 100 ? '0' : ''}${rest}Z`
    return text
  }
}
