/** Chooses one of several endpoints (behaviour §5.6). Weights are relative and at least 1. */
import type { LoadBalancerModel } from '../model/cluster.ts'

export type Balanced = {
  readonly weight: number
  /** Requests under way. */
  readonly active: number
}

/** `pick` wants at least one candidate; the list may be another one each time. `random`: a number in [0, 1). */
export type Balancer = { pick<T extends Balanced>(candidates: readonly T[], random: () => number): T }

export function createBalancer({ kind }: LoadBalancerModel): Balancer {
  switch (kind) {
    case 'ROUND_ROBIN':
      return roundRobin()
    case 'RANDOM':
      return { pick: (candidates, random) => weighted(candidates, random()) }
    case 'LEAST_REQUEST':
    case 'RING_HASH':
    case 'MAGLEV':
      return { pick: leastRequest }
    default:
      throw new TypeError(`unknown load balancer ${JSON.stringify(kind satisfies never)}`)
  }
}

/**
 * Smooth weighted round robin: each turn every candidate gains its weight and the leader pays the total, so equal
 * weights alternate and unequal ones interleave. Credit is kept per endpoint object, so a changed list goes on fairly.
 */
function roundRobin(): Balancer {
  const credit = new WeakMap<Balanced, number>()
  return {
    pick: (candidates) => {
      let best = first(candidates)
      if (candidates.length === 1) return best
      let total = 0
      let most = Number.NEGATIVE_INFINITY
      for (const candidate of candidates) {
        const now = (credit.get(candidate) ?? 0) + candidate.weight
        credit.set(candidate, now)
        total += candidate.weight
        if (now > most) {
          most = now
          best = candidate
        }
      }
      credit.set(best, most - total)
      return best
    },
  }
}

/** Power of two choices, as Envoy's default: of two drawn by weight, the one with fewer requests per weight. */
function leastRequest<T extends Balanced>(candidates: readonly T[], random: () => number): T {
  if (candidates.length === 1) return first(candidates)
  const a = weighted(candidates, random())
  const b = weighted(candidates, random())
  return (b.active + 1) / b.weight < (a.active + 1) / a.weight ? b : a
}

function weighted<T extends Balanced>(candidates: readonly T[], random: number): T {
  let total = 0
  for (const candidate of candidates) total += candidate.weight
  let left = random * total
  for (const candidate of candidates) {
    left -= candidate.weight
    if (left < 0) return candidate
  }
  return first(candidates)
}

function first<T>(candidates: readonly T[]): T {
  const candidate = candidates[0]
  if (candidate === undefined) throw new RangeError('no candidates to balance over')
  return candidate
}
