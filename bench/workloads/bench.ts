/** What workloads are given, and what they give back. */
import { type Contender, ENGINES, type Engine, NAMES } from '../contenders/contender.ts'
import { startHaproxy } from '../contenders/haproxy.ts'
import { startNginx } from '../contenders/nginx.ts'
import { startSallyport } from '../contenders/sallyport.ts'
import type { World } from '../contenders/world.ts'
import type { Caller } from '../load/caller.ts'
import type { Tools } from '../load/tools.ts'
import type { Options } from '../measure/options.ts'
import type { Subject } from '../measure/rounds.ts'
import type { Columns } from '../measure/table.ts'

export type Bench = {
  readonly world: World
  readonly caller: Caller
  readonly tools: Tools
  /** The compiled preload library; null: no compiler. */
  readonly library: string | null
  /** Those that were asked for and exist. */
  readonly engines: readonly Engine[]
  readonly options: Options
  /** The other checkout, and the engines it has of those. */
  readonly baseline: { readonly checkout: string; readonly engines: readonly Engine[] } | null
}

export type Prepared = {
  readonly subjects: readonly Subject[]
  readonly rounds: number
  /** Rounds before, thrown away. */
  readonly warmUp: number
  /** What else the reader must know, a sentence each. */
  readonly notes: readonly string[]
  stop(): Promise<void>
}

export type Workload = {
  readonly title: string
  readonly columns: Columns
  prepare(bench: Bench): Promise<Prepared>
}

export type Starter = { readonly name: string; readonly start: () => Promise<Contender> }

/** Ways to start every contender that this machine has. */
export function starters({ world, tools, engines, baseline }: Bench): readonly Starter[] {
  return [
    ...engines.map((engine) => ({ name: NAMES[engine], start: () => startSallyport(world, engine) })),
    ...(baseline === null ? [] : baselineStarters(world, baseline)),
    ...(tools.has('haproxy') ? [{ name: NAMES.haproxy, start: () => startHaproxy(world) }] : []),
    ...(tools.has('nginx') ? [{ name: NAMES.nginx, start: () => startNginx(world) }] : []),
  ]
}

function baselineStarters(world: World, { checkout, engines }: NonNullable<Bench['baseline']>): readonly Starter[] {
  return engines.map((engine) => {
    const name = baselineName(engine)
    return { name, start: () => startSallyport(world, engine, { name, checkout }) }
  })
}

const baselineName = (engine: Engine) => `${NAMES[engine]}, baseline`

export const RATIO_BASES = [NAMES.haproxy, NAMES.nginx, NAMES['http-proxy'], ...ENGINES.map(baselineName)] as const

/** All of them at once; when one cannot start, those that did are stopped. */
export async function startAll(list: readonly Starter[]): Promise<readonly Contender[]> {
  const started: Contender[] = []
  try {
    for (const { start } of list) started.push(await start())
  } catch (error) {
    await stopAll(started)
    throw error
  }
  return started
}

export async function stopAll(contenders: readonly Contender[]): Promise<void> {
  await Promise.all(contenders.map(({ running }) => running.stop()))
}
