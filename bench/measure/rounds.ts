/** Interleaved rounds (A B C A B C …), and what is said of them: medians, minima, and ratios taken within one round. */

/** One slice of one subject: what it cost, and details for the table (null: not known). */
export type Sample = { readonly cost: number; readonly details: readonly (number | null)[] }

export type Subject = { readonly name: string; readonly measure: () => Promise<Sample> }

export type Spread = {
  readonly median: number
  readonly min: number
  readonly max: number
  /** First and third quartile. */
  readonly q1: number
  readonly q3: number
}

/** The value below which `share` of the values lie, between two values by their distance (R's type 7). */
function quantile(sorted: readonly number[], share: number): number {
  const at = (sorted.length - 1) * share
  const below = sorted[Math.floor(at)] ?? Number.NaN
  const above = sorted[Math.ceil(at)] ?? Number.NaN
  return below + (above - below) * (at - Math.floor(at))
}

export function spread(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b)
  const [min, q1, median, q3, max] = [0, 0.25, 0.5, 0.75, 1].map((share) => quantile(sorted, share))
  return { min: min ?? NaN, q1: q1 ?? NaN, median: median ?? NaN, q3: q3 ?? NaN, max: max ?? NaN }
}

/** Samples of every subject, one per round. `warmUp`: rounds before that whose samples are thrown away. */
export async function inRounds(
  subjects: readonly Subject[],
  rounds: number,
  warmUp: number,
  progress: (text: string) => void,
): Promise<readonly (readonly Sample[])[]> {
  const samples: Sample[][] = subjects.map(() => [])
  for (let round = -warmUp; round < rounds; round++)
    for (const [index, subject] of subjects.entries()) {
      progress(`${round < 0 ? 'warm-up' : `round ${round + 1} of ${rounds}`}: ${subject.name}`)
      const sample = await subject.measure()
      if (!Number.isFinite(sample.cost)) throw new Error(`${subject.name}: no figure`)
      if (round >= 0) samples[index]?.push(sample)
    }
  return samples
}

/** The quotients of two subjects' costs, round by round: noise that lasts longer than a round falls out. */
export function ratios(of: readonly Sample[], to: readonly Sample[]): Spread {
  return spread(of.map(({ cost }, round) => cost / (to[round]?.cost ?? NaN)))
}
