/** Chooses one of several endpoints without regard to what the request is (behaviour §5.6); ring-hash.ts and maglev.ts look at it. */

export type Balanced = {
  /** Relative, above 0. */
  readonly weight: number
  /** Requests under way. */
  readonly active: number
}

/** What there is to choose from at present. `uniform`: all weights are equal, so that nothing has to be summed up. */
export type Candidates<T extends Balanced> = { readonly list: readonly T[]; readonly uniform: boolean }

export function candidatesOf<T extends Balanced>(list: readonly T[]): Candidates<T> {
  const weight = list[0]?.weight
  return { list, uniform: list.every((each) => each.weight === weight) }
}

/** `pick` wants at least one candidate; they may be others each time. `random`: a number in [0, 1). */
export type Balancer = { pick<T extends Balanced>(candidates: Candidates<T>, random: () => number): T }

export type BalancerKind = 'LEAST_REQUEST' | 'ROUND_ROBIN' | 'RANDOM'

export function createBalancer(kind: BalancerKind): Balancer {
  switch (kind) {
    case 'ROUND_ROBIN':
      return roundRobin()
    case 'RANDOM':
      return { pick: (candidates, random) => draw(candidates, random()) }
    case 'LEAST_REQUEST':
      return { pick: leastRequest }
    default:
      throw new TypeError(`unknown load balancer ${JSON.stringify(kind satisfies never)}`)
  }
}

/**
 * Smooth weighted round robin: each turn every candidate gains its weight and the leader pays the total, so unequal
 * weights interleave. Credit is kept per endpoint object, so a changed list goes on fairly. Equal weights just take turns.
 */
function roundRobin(): Balancer {
  const credit = new WeakMap<Balanced, number>()
  let turn = -1
  return {
    pick: ({ list, uniform }) => {
      if (uniform) {
        turn = turn + 1 < list.length ? turn + 1 : 0
        return at(list, turn)
      }
      let best = at(list, 0)
      let total = 0
      let most = Number.NEGATIVE_INFINITY
      for (const candidate of list) {
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
function leastRequest<T extends Balanced>(candidates: Candidates<T>, random: () => number): T {
  if (candidates.list.length === 1) return at(candidates.list, 0)
  const a = draw(candidates, random())
  const b = draw(candidates, random())
  return (b.active + 1) / b.weight < (a.active + 1) / a.weight ? b : a
}

function draw<T extends Balanced>({ list, uniform }: Candidates<T>, random: number): T {
  if (uniform) return at(list, Math.floor(random * list.length))
  let total = 0
  for (const candidate of list) total += candidate.weight
  let left = random * total
  for (const candidate of list) {
    left -= candidate.weight
    if (left < 0) return candidate
  }
  // Only rounding gets here.
  return at(list, 0)
}

function at<T>(candidates: readonly T[], index: number): T {
  const candidate = candidates[index]
  if (candidate === undefined) throw new RangeError('no candidates to balance over')
  return candidate
}
