/** W4: new mTLS connections with one request each, by four clients one after the other; full and resumed handshakes. */
import type { Contender } from '../contenders/contender.ts'
import { checkAccessLog } from '../load/access-log.ts'
import { ALLOWED, exchange } from '../load/exchange.ts'
import { cpuSeconds, residentBytes } from '../measure/processes.ts'
import type { Sample, Subject } from '../measure/rounds.ts'
import { type Bench, RATIO_BASES, startAll, starters, stopAll, type Workload } from './bench.ts'

const CLIENTS = 4

type Handshake = 'full' | 'resumed'

const workload = (handshake: Handshake): Workload => ({
  title: `new mTLS connections with one request each, ${handshake} handshakes; ${CLIENTS} clients, one after the other each`,
  columns: {
    cost: 'CPU µs per connection',
    digits: 0,
    details: [
      { name: 'connections/s', digits: 0 },
      { name: 'resumed %', digits: 0 },
      { name: 'RSS MB', digits: 0 },
    ],
    bases: RATIO_BASES,
  },
  prepare: async (bench) => {
    const contenders = await startAll(starters(bench))
    return {
      subjects: contenders.map((contender): Subject => {
        const measure = () => slice(bench, contender, handshake)
        return { name: contender.name, measure }
      }),
      rounds: bench.options.rounds,
      warmUp: 1,
      notes: [],
      stop: () => stopAll(contenders),
    }
  },
})

export const W4_FULL = workload('full')
export const W4_RESUMED = workload('resumed')

type Tally = { connections: number; resumed: number }

async function slice(bench: Bench, contender: Contender, handshake: Handshake): Promise<Sample> {
  const { name, running, port, log } = contender
  const tally: Tally = { connections: 0, resumed: 0 }
  const started = performance.now()
  const before = cpuSeconds(running.pid)
  const until = started + bench.options.seconds * 1000
  try {
    await Promise.all(Array.from({ length: CLIENTS }, () => client(bench, port, handshake, until, tally)))
  } catch (error) {
    throw new Error(`${name}: ${error instanceof Error ? error.message : String(error)}`)
  }
  const seconds = (performance.now() - started) / 1000
  running.assertAlive()
  if (log !== null) await checkAccessLog(name, log, tally.connections)
  const spent = cpuSeconds(running.pid) - before
  const { connections, resumed } = tally
  return {
    cost: (spent / connections) * 1e6,
    details: [connections / seconds, (resumed / connections) * 100, residentBytes(running.pid) / 2 ** 20],
  }
}

async function client(bench: Bench, port: number, handshake: Handshake, until: number, tally: Tally): Promise<void> {
  let session: Buffer | null = null
  do {
    const socket = await bench.caller.connect(port, session)
    if (handshake === 'resumed') socket.on('session', (ticket) => (session = ticket))
    await exchange(socket, ALLOWED)
    tally.connections++
    if (socket.isSessionReused()) tally.resumed++
    socket.end()
    // Closing is part of the connection; the other end's answer to it is not waited for.
    socket.resume()
  } while (performance.now() < until)
}
