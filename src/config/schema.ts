/**
 * Building blocks of the kinds' schemas: protobuf-JSON as Istio's legacy jsonpb reads it (behaviour §11 no. 24):
 * integers as numbers or strings, enums by name or number, Go durations. Unknown keys and snake_case are the
 * canonical walk's business (config/canonical.ts); `null` has been dropped before (an absent field).
 */
import { z } from 'zod'

/** An integer, also quoted (`"80"`). */
export const int = (min: number, max: number) =>
  z.preprocess(
    (value) => (typeof value === 'string' && /^-?\d{1,15}$/.test(value) ? Number(value) : value),
    z.number().int().min(min).max(max),
  )

export const port = int(1, 65535)

/** A floating point number, also quoted. */
export const float = (min: number, max: number) =>
  z.preprocess(
    (value) => (typeof value === 'string' && /^-?\d+(\.\d+)?$/.test(value) ? Number(value) : value),
    z.number().min(min).max(max),
  )

export const text = z.string()
export const nonEmpty = z.string().min(1, 'must not be empty')
export const bool = z.boolean()

const UNITS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
}

/** Milliseconds of a Go duration (`1h2m`, `1.5s`, `100ms`, `0`); null when it is none. Negative ones are none. */
export function parseDuration(value: string): number | null {
  if (value === '0') return 0
  let total = 0
  let rest = value
  while (rest !== '') {
    const part = /^(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)/.exec(rest)
    if (part === null) return null
    total += Number(part[1]) * (UNITS[part[2] as string] as number)
    rest = rest.slice(part[0].length)
  }
  return value === '' ? null : total
}

/** A Go duration, as milliseconds. */
export const duration = z.string().transform((value, context) => {
  const ms = parseDuration(value)
  if (ms === null)
    context.addIssue({
      code: 'custom',
      message: `not a duration: ${JSON.stringify(value)} (write e.g. 10s, 1h30m, 500ms)`,
    })
  return ms ?? 0
})

/** An enum by name, or by protobuf number (position in `names`). */
export const enumeration = <const Names extends readonly [string, ...string[]]>(names: Names) =>
  z.preprocess((value) => {
    if (typeof value === 'number') return names[value] ?? value
    if (typeof value === 'string' && /^\d+$/.test(value)) return names[Number(value)] ?? value
    return value
  }, z.enum(names))

export const stringMap = z.record(z.string(), z.string())

/** Istio's StringMatch: exactly one of exact, prefix, regex; `{}` is presence where the field allows it. */
export const stringMatch = z.object({ exact: text.optional(), prefix: text.optional(), regex: text.optional() })
