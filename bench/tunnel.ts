/**
 * `npm run bench:tunnel`: CPU nanoseconds per byte that tunnels cost, next to HAProxy's in the same run, as a Markdown
 * table. What is measured is pinned to one core, caller and outside to the other; rounds are interleaved; ratios are
 * medians of the ratios within one round. HAProxy is named as absent when it is not installed.
 * BENCH_MB: megabytes per slice; BENCH_ROUNDS; BENCH_ONLY: only rows whose name has this; BENCH_BASELINE: another
 * checkout of Sallyport to measure beside this one.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createTestPki } from '../src/testing/pki.ts'
import { type Contender, cpuSeconds, pinSelf, residentMb, startHaproxy, startSallyport } from './tunnel-contenders.ts'
import { type Case, Load } from './tunnel-load.ts'

const BYTES = Number(process.env['BENCH_MB'] ?? 400) * 1e6
const ROUNDS = Number(process.env['BENCH_ROUNDS'] ?? 5)
const ONLY = process.env['BENCH_ONLY'] ?? ''
const BASELINE = process.env['BENCH_BASELINE']

const CASES: Readonly<Record<string, Case>> = {
  'passthrough, download, 1 connection': { way: 'passthrough', ends: 'raw', direction: 'down', connections: 1 },
  'passthrough, download, 32 connections': { way: 'passthrough', ends: 'raw', direction: 'down', connections: 32 },
  'passthrough, upload, 1 connection': { way: 'passthrough', ends: 'raw', direction: 'up', connections: 1 },
  'passthrough, upload, 32 connections': { way: 'passthrough', ends: 'raw', direction: 'up', connections: 32 },
  'passthrough, TLS at the ends, download, 1': { way: 'passthrough', ends: 'tls', direction: 'down', connections: 1 },
  'TLS in mTLS, download, 1 connection': { way: 'mtls', ends: 'raw', direction: 'down', connections: 1 },
  'TLS in mTLS, download, 32 connections': { way: 'mtls', ends: 'raw', direction: 'down', connections: 32 },
  'TLS in mTLS, upload, 1 connection': { way: 'mtls', ends: 'raw', direction: 'up', connections: 1 },
  'TLS in mTLS, upload, 32 connections': { way: 'mtls', ends: 'raw', direction: 'up', connections: 32 },
}

const PEER = 'haproxy'

const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0

pinSelf()
const pki = await createTestPki()
const load = await Load.start(pki)
const dir = mkdtempSync(join(tmpdir(), 'sallyport-bench-'))
const contenders: Contender[] = []

/** ns per byte of every contender in one round; null: it left no measurement. */
async function round(what: Case): Promise<readonly number[]> {
  const figures: number[] = []
  for (const { pid, ports } of contenders)
    figures.push(await load.run(ports[what.way], what, BYTES, () => cpuSeconds(pid)))
  return figures
}

try {
  contenders.push(await startSallyport('sallyport', join(import.meta.dirname, '..'), pki, load.ports, join(dir, 'own')))
  if (BASELINE !== undefined)
    contenders.push(await startSallyport('baseline', BASELINE, pki, load.ports, join(dir, 'baseline')))
  const peers = [
    await startHaproxy(PEER, [], pki, load.ports, join(dir, 'haproxy')),
    await startHaproxy('haproxy, splice', ['splice-request', 'splice-response'], pki, load.ports, join(dir, 'splice')),
  ]
  for (const peer of peers) if (peer !== null) contenders.push(peer)
  const peer = contenders.findIndex(({ name }) => name === PEER)
  if (peer < 0) console.log('haproxy: not installed')
  const others = contenders.map((_, index) => index).filter((index) => index !== peer)
  const ratios = peer < 0 ? [] : others.map((index) => `${contenders[index]?.name} ÷ ${PEER}`)
  const columns = ['CPU ns per byte', ...contenders.map(({ name }) => name), ...ratios]
  console.log(`| ${columns.join(' | ')} |\n|---|${'--:|'.repeat(columns.length - 1)}`)
  for (const [name, what] of Object.entries(CASES)) {
    if (!name.includes(ONLY)) continue
    await round(what)
    const rounds: (readonly number[])[] = []
    for (let i = 0; i < ROUNDS; i++) rounds.push(await round(what))
    const cells = contenders.map((_, index) => median(rounds.map((figures) => figures[index] ?? 0)))
    const quotients = ratios.map((_, at) =>
      median(rounds.map((figures) => (figures[others[at] ?? 0] ?? 0) / (figures[peer] ?? 0))),
    )
    console.log(`| ${[name, ...[...cells, ...quotients].map((value) => value.toFixed(2))].join(' | ')} |`)
  }
  console.log(`\n${ROUNDS} rounds of ${BYTES / 1e6} MB each, medians; node ${process.version}`)
  for (const { name, pid } of contenders) console.log(`RSS afterwards: ${name} ${residentMb(pid)} MB`)
} finally {
  for (const contender of contenders) contender.stop()
  load.close()
  rmSync(dir, { recursive: true, force: true })
}
