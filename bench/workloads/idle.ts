/** W5: memory per idle mTLS connection, next to bare Node TLS sockets of the same run. Processes start anew each round. */
import { setTimeout as delay } from 'node:timers/promises'
import type { TLSSocket } from 'node:tls'
import { startBareTls } from '../contenders/bare-tls.ts'
import { NAMES } from '../contenders/contender.ts'
import { ALLOWED, exchange } from '../load/exchange.ts'
import { residentBytes } from '../measure/processes.ts'
import type { Sample } from '../measure/rounds.ts'
import { type Bench, type Starter, starters, type Workload } from './bench.ts'

const BARE = 'bare Node TLS sockets'
const MOST_ROUNDS = 3
/** Handshakes under way at once. */
const AT_ONCE = 16
/** Memory has settled when it did not change by more than a part in 200 within this time. */
const SETTLE_MS = 500
const SETTLE_TIMES = 10

export const W5: Workload = {
  title: 'memory per idle mTLS connection, after one request on each',
  columns: {
    cost: 'KiB per connection',
    digits: 1,
    details: [
      { name: 'RSS MB idle', digits: 0 },
      { name: 'RSS MB with all', digits: 0 },
    ],
    bases: [BARE, NAMES.haproxy],
  },
  prepare: async (bench) => {
    const all = [...starters(bench), { name: BARE, start: () => startBareTls(bench.world, BARE) }]
    return {
      subjects: all.map((starter) => ({ name: starter.name, measure: () => slice(bench, starter) })),
      rounds: Math.min(bench.options.rounds, MOST_ROUNDS),
      warmUp: 0,
      notes: [`${bench.options.connections} connections, one request on each; a new process each round.`],
      stop: async () => {},
    }
  },
}

async function slice(bench: Bench, { name, start }: Starter): Promise<Sample> {
  const { running, port } = await start()
  const sockets: TLSSocket[] = []
  const { connections } = bench.options
  try {
    // What the first requests load for good is no connection's share.
    for (let i = 0; i < AT_ONCE; i++) await open(bench, port, sockets)
    const idle = await settled(running.pid)
    const workers = Array.from({ length: AT_ONCE }, async () => {
      while (sockets.length < connections + AT_ONCE) await open(bench, port, sockets)
    })
    await Promise.all(workers)
    running.assertAlive()
    const held = sockets.length - AT_ONCE
    const full = await settled(running.pid)
    const closed = sockets.filter((socket) => socket.destroyed || socket.readableEnded).length
    if (closed > 0) throw new Error(`${closed} of ${sockets.length} connections did not stay open`)
    return { cost: (full - idle) / held / 1024, details: [idle / 2 ** 20, full / 2 ** 20] }
  } catch (error) {
    throw new Error(`${name}: ${error instanceof Error ? error.message : String(error)}`)
  } finally {
    for (const socket of sockets) socket.destroy()
    await running.stop()
  }
}

async function open({ caller }: Bench, port: number, sockets: TLSSocket[]): Promise<void> {
  const socket = await caller.connect(port)
  sockets.push(socket)
  await exchange(socket, ALLOWED)
}

async function settled(pid: number): Promise<number> {
  let bytes = residentBytes(pid)
  for (let i = 0; i < SETTLE_TIMES; i++) {
    await delay(SETTLE_MS)
    const now = residentBytes(pid)
    if (Math.abs(now - bytes) < bytes / 200) return now
    bytes = now
  }
  return bytes
}
