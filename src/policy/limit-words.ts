/** Limits in sentences, for `explain`. */
import type { Attributes } from '../core/attributes.ts'
import type { LimitModel } from '../model/limits.ts'
import { findCondition } from './conditions.ts'
import type { LimitCondition } from './limits.ts'

/** Why none of the alternatives of a part holds: the first condition of each that does not. */
export function limitFailure(
  part: 'from' | 'to',
  failing: readonly (LimitCondition | undefined)[],
  attributes: Attributes,
  host: string,
): string {
  const failures = failing.map((condition) =>
    condition === undefined ? 'nothing' : failure(condition, attributes, host),
  )
  return `no \`${part}\` matches: ${[...new Set(failures)].join('; or ')}`
}

function failure({ model }: LimitCondition, attributes: Attributes, host: string): string {
  const { key, values, notValues } = model
  const found = findCondition(key)
  const seen = key === 'host' ? host : (found?.row.seen(attributes, found.argument) ?? null)
  if (seen === null) {
    const why = attributes.http === null && found?.row.scope === 'http' ? ' on a tunnel' : ''
    return `${key} is absent${why}`
  }
  const excluded = values.length === 0
  return `${key} is ${JSON.stringify(seen)}, which is ${excluded ? 'excluded by' : 'not'} ${list(excluded ? notValues : values)}`
}

function list(values: readonly string[]): string {
  const shown = values.slice(0, 5).map((value) => JSON.stringify(value))
  if (values.length > 5) shown.push(`… (${values.length} in all)`)
  return shown.length === 1 ? (shown[0] as string) : `one of ${shown.join(', ')}`
}

const PERIODS: Readonly<Record<number, string>> = {
  1000: 'second',
  60_000: 'minute',
  3_600_000: 'hour',
  86_400_000: 'day',
}

/** `1000 requests per minute, at most 100 at once, for each principal and host`. */
export function describeLimit({ quota, unit, direction, key }: LimitModel): string {
  const what =
    unit === 'bytes' && direction !== 'both'
      ? `bytes ${direction === 'egress' ? 'to the outside' : 'to the caller'}`
      : unit
  const by = key.length === 0 ? 'for all together' : `for each ${key.join(' and ')}`
  switch (quota.kind) {
    case 'concurrent':
      return `${quota.count} ${what} open at a time, ${by}`
    case 'budget':
      return `a budget of ${quota.count} ${what} per ${quota.per} (UTC), ${by}`
    case 'rate':
      return `${quota.count} ${what} per ${PERIODS[quota.periodMs] ?? `${quota.periodMs} ms`}, at most ${quota.burst} at once, ${by}`
  }
}
