/** Workloads that are many requests over few connections: W1, W1h2, W2, W6, W7, W8, W9. */
import { RedisServer, skipWithoutRedis } from '../../src/testing/redis.ts'
import { type Contender, NAMES } from '../contenders/contender.ts'
import { limitsToCompare } from '../contenders/limits.ts'
import { LOG_FORMATS } from '../contenders/log-formats.ts'
import { type Bulk, startSallyport } from '../contenders/sallyport.ts'
import { checkAccessLog } from '../load/access-log.ts'
import { ALLOWED, type Expected, exchange, ORIGINATED, REFUSED } from '../load/exchange.ts'
import { h2Load } from '../load/h2load.ts'
import { H1_CONNECTIONS, H2_CONNECTIONS, H2_STREAMS, type Load } from '../load/load.ts'
import { nodeH1Load, nodeH2Load } from '../load/node-load.ts'
import { wrkLoad } from '../load/wrk.ts'
import { cpuSeconds, residentBytes } from '../measure/processes.ts'
import type { Sample, Subject } from '../measure/rounds.ts'
import type { Columns } from '../measure/table.ts'
import {
  type Bench,
  type Prepared,
  RATIO_BASES,
  type Starter,
  startAll,
  starters,
  stopAll,
  type Workload,
} from './bench.ts'

type Protocol = 'h1' | 'h2'

const columns = (bases: readonly string[]): Columns => ({
  cost: 'CPU µs per request',
  digits: 1,
  details: [
    { name: 'requests/s', digits: 0 },
    { name: 'p50 ms', digits: 2 },
    { name: 'p99 ms', digits: 2 },
    { name: 'RSS MB', digits: 0 },
  ],
  bases,
})

const H1 = `${H1_CONNECTIONS} keep-alive connections`
const H2 = `${H2_CONNECTIONS} connections of ${H2_STREAMS} streams`
const BULK: Bulk = { hosts: 10_000, policies: 2_000 }

export const W1 = requests(`mTLS HTTP/1.1 in, plain HTTP/1.1 out; ${H1}, 1 KB answers`, 'h1', ALLOWED)
export const W1h2 = requests(`mTLS HTTP/2 in, plain HTTP/1.1 out; ${H2}, 1 KB answers`, 'h2', ALLOWED)
export const W2 = requests(`mTLS HTTP/1.1 in, TLS originated outside; ${H1}, 1 KB answers`, 'h1', ORIGINATED)

/** Sallyport's refusals, and beside them its allowed requests of the same rounds. */
export const W6: Workload = {
  title: `mTLS HTTP/1.1, refused by policy (403); ${H1}`,
  columns: columns([...RATIO_BASES, `${NAMES.wire}, allowed`, `${NAMES['http-proxy']}, allowed`]),
  prepare: (bench) => {
    const own = bench.engines.map((engine) => NAMES[engine] as string)
    return prepare(bench, 'h1', starters(bench), (contender, load) => [
      subject(bench, contender, load, REFUSED),
      ...(own.includes(contender.name) ? [subject(bench, contender, load, ALLOWED, ', allowed')] : []),
    ])
  },
}

/** W1's request of the same caller to the same host, with and without much else in the configuration. */
export const W7: Workload = {
  title: `W1 with ${BULK.hosts} more hosts and ${BULK.policies} more policies loaded`,
  columns: columns([NAMES.wire, NAMES['http-proxy']]),
  prepare: (bench) => {
    const pairs = bench.engines.flatMap((engine): readonly Starter[] => {
      const name = `${NAMES[engine]}, much loaded`
      return [
        { name: NAMES[engine], start: () => startSallyport(bench.world, engine) },
        { name, start: () => startSallyport(bench.world, engine, { name, bulk: BULK }) },
      ]
    })
    return prepare(bench, 'h1', pairs, (contender, load) => [subject(bench, contender, load, ALLOWED)])
  },
}

/** W1 with other access logs; lines are counted in each. */
export const W8: Workload = {
  title: `W1 with each access log`,
  columns: columns(['default JSON', 'off']),
  prepare: (bench) => {
    const list = Object.entries(LOG_FORMATS).map(
      ([name, meshConfig]): Starter => ({
        name,
        start: () => startSallyport(bench.world, bench.engines[0] ?? 'wire', { name, meshConfig }),
      }),
    )
    return prepare(bench, 'h1', list, (contender, load) => [subject(bench, contender, load, ALLOWED)])
  },
}

/** W1 under a limit that is never reached: what counting costs, here and in Redis. */
export const W9: Workload = {
  title: `W1 under a limit`,
  columns: columns(['no limit']),
  prepare: async (bench) => {
    const redis = skipWithoutRedis === false ? await RedisServer.start() : null
    const list = Object.entries(limitsToCompare(redis?.url ?? null)).map(
      ([name, limited]): Starter => ({
        name,
        start: () => startSallyport(bench.world, bench.engines[0] ?? 'wire', { name, limited }),
      }),
    )
    const prepared = await prepare(bench, 'h1', list, (contender, load) => [subject(bench, contender, load, ALLOWED)])
    const notes = redis === null ? [...prepared.notes, 'No limit in Redis, for want of redis-server.'] : prepared.notes
    return { ...prepared, notes, stop: async () => void (await Promise.all([prepared.stop(), redis?.close()])) }
  },
}

function requests(title: string, protocol: Protocol, expected: Expected): Workload {
  return {
    title,
    columns: columns(RATIO_BASES),
    prepare: (bench) =>
      prepare(bench, protocol, starters(bench), (contender, load) => [subject(bench, contender, load, expected)]),
  }
}

async function prepare(
  bench: Bench,
  protocol: Protocol,
  list: readonly Starter[],
  subjectsOf: (contender: Contender, load: Load) => readonly Subject[],
): Promise<Prepared> {
  const { load, note } = chooseLoad(bench, protocol)
  const contenders = await startAll(list)
  return {
    subjects: contenders.flatMap((contender) => subjectsOf(contender, load)),
    rounds: bench.options.rounds,
    warmUp: bench.options.warmUp,
    notes: note === null ? [] : [note],
    stop: () => stopAll(contenders),
  }
}

function chooseLoad({ world, tools, library }: Bench, protocol: Protocol): { load: Load; note: string | null } {
  const program = protocol === 'h1' ? 'wrk' : 'h2load'
  if (tools.has(program) && library !== null)
    return { load: protocol === 'h1' ? wrkLoad(world, library) : h2Load(world, library), note: null }
  const missing = [...(tools.has(program) ? [] : [program]), ...(library === null ? ['cc'] : [])].join(' and ')
  const load = protocol === 'h1' ? nodeH1Load(world) : nodeH2Load(world)
  return { load, note: `Load by Node, for want of ${missing}: it is slower, so contenders may be partly idle.` }
}

function subject(bench: Bench, contender: Contender, load: Load, expected: Expected, suffix = ''): Subject {
  return { name: contender.name + suffix, measure: () => slice(bench, contender, load, expected) }
}

async function slice(bench: Bench, contender: Contender, load: Load, expected: Expected): Promise<Sample> {
  const { running, port, log, name } = contender
  await checkOne(bench, contender, expected)
  const before = cpuSeconds(running.pid)
  const result = await load.run(port, expected, bench.options.seconds).catch((error: unknown) => {
    throw new Error(`${name}: ${error instanceof Error ? error.message : String(error)}`)
  })
  running.assertAlive()
  // Its last batch is part of the work.
  if (log !== null) await checkAccessLog(name, log, result.requests)
  const spent = cpuSeconds(running.pid) - before
  await checkOne(bench, contender, expected)
  const { p50, p99 } = result
  const megabytes = residentBytes(running.pid) / 2 ** 20
  return {
    cost: (spent / result.requests) * 1e6,
    details: [result.requests / result.seconds, p50, p99, megabytes],
  }
}

/** The load generators count; what exactly comes back is looked at here. */
async function checkOne({ caller }: Bench, { port, name }: Contender, expected: Expected): Promise<void> {
  const socket = await caller.connect(port)
  try {
    await exchange(socket, expected)
  } catch (error) {
    throw new Error(`${name}: ${error instanceof Error ? error.message : String(error)}`)
  } finally {
    socket.destroy()
  }
}
