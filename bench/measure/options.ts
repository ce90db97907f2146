/** The command line of `npm run bench`. */
import path from 'node:path'
import { parseArgs } from 'node:util'
import { ENGINES, type Engine } from '../contenders/contender.ts'

export type Options = {
  /** Names of workloads; empty: all. */
  readonly workloads: readonly string[]
  readonly engines: readonly Engine[]
  readonly rounds: number
  /** Slices of requests before the first round that are thrown away, of each contender. */
  readonly warmUp: number
  /** Length of a slice. */
  readonly seconds: number
  /** Bytes that one slice of W3 moves, in millions. */
  readonly megabytes: number
  /** Idle connections of W5. */
  readonly connections: number
  /** Another checkout of Sallyport, measured beside this one. */
  readonly baseline: string | null
}

export const USAGE = `usage: npm run bench -- [WORKLOAD…] [options]
  WORKLOAD              W1 W1h2 W2 W3 W4 W5 W6 W7 W8 W9; default: all
  --engine ENGINE       wire or http-proxy; may be repeated; default: all that this checkout has
  --baseline DIR        another checkout of Sallyport to measure beside this one (not in W3, W7, W8 and W9)
  --rounds N            default 5 (W5, whose processes start anew each round: at most 3)
  --warm-up N           slices thrown away before the first round, default 3 (W1, W1h2, W2, W6 to W9; elsewhere one or none)
  --seconds N           length of a slice, default 5; those of the warm-up too
  --megabytes N         W3: moved per slice, default 200
  --connections N       W5: idle connections, default 2000`

export class UsageError extends Error {}

/** null: help was asked for. @throws UsageError */
export function readOptions(argv: readonly string[]): Options | null {
  let parsed
  try {
    parsed = parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: {
        engine: { type: 'string', multiple: true },
        baseline: { type: 'string' },
        rounds: { type: 'string', default: '5' },
        'warm-up': { type: 'string', default: '3' },
        seconds: { type: 'string', default: '5' },
        megabytes: { type: 'string', default: '200' },
        connections: { type: 'string', default: '2000' },
        help: { type: 'boolean', short: 'h', default: false },
      },
    })
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error))
  }
  const { values, positionals } = parsed
  if (values.help) return null
  return {
    workloads: positionals,
    engines: values.engine === undefined ? ENGINES : values.engine.map(readEngine),
    baseline: values.baseline === undefined ? null : path.resolve(values.baseline),
    rounds: readCount('rounds', values.rounds),
    warmUp: readCount('warm-up', values['warm-up']),
    seconds: readCount('seconds', values.seconds),
    megabytes: readCount('megabytes', values.megabytes),
    connections: readCount('connections', values.connections),
  }
}

function readEngine(text: string): Engine {
  const engine = ENGINES.find((each) => each === text)
  if (engine === undefined) throw new UsageError(`--engine takes ${ENGINES.join(' or ')}, not ${text}`)
  return engine
}

function readCount(name: string, text: string): number {
  if (!/^[1-9]\d{0,6}$/.test(text)) throw new UsageError(`--${name} takes a positive whole number, not ${text}`)
  return Number(text)
}
