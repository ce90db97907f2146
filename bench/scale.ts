/**
 * `npm run bench:scale`: 10,000 ServiceEntries and 2,000 VirtualServices. Prints how long they take to load and to load
 * again, the memory of the process, and the CPU time of a request next to the same gateway with 5 entries and 2 routes.
 * The two run beside each other on one core, callers and outside on the other; rounds are interleaved, and the ratio is
 * taken within each round. BENCH_SERVICES, BENCH_ROUTES; BENCH_ROUNDS; BENCH_REQUESTS: per round and gateway.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { eventually } from '../src/testing/eventually.ts'
import { createTestPki, type TestPki } from '../src/testing/pki.ts'
import { longest, run, ScaleLoad } from './scale-load.ts'
import { REACHABLE, type ScaleSize, scaleHost, writeScaleResources } from './scale-resources.ts'
import { cpuSeconds, pinSelf, residentMb } from './tunnel-contenders.ts'

const LARGE: ScaleSize = {
  services: Number(process.env['BENCH_SERVICES'] ?? 10_000),
  routes: Number(process.env['BENCH_ROUTES'] ?? 2_000),
}
const SMALL: ScaleSize = { services: 5, routes: 2 }
const ROUNDS = Number(process.env['BENCH_ROUNDS'] ?? 15)
const REQUESTS = Number(process.env['BENCH_REQUESTS'] ?? 4_000)
const RELOADS = 3
/** Rounds that do not count. */
const WARM_UP = 4
const PATIENCE_MS = 120_000

type Measured = {
  readonly pid: number
  readonly port: number
  readonly readyMs: number
  readonly bytes: number
  /** Milliseconds from a change of a file, which is watched, until the new configuration is active. */
  reload(round: number): Promise<number>
  stop(): void
}

async function start(name: string, size: ScaleSize, pki: TestPki, originPort: number, dir: string): Promise<Measured> {
  mkdirSync(dir)
  const bytes = writeScaleResources(join(dir, 'resources'), size, originPort)
  const svid = await pki.svid('istio-system/istio-egressgateway-service-account')
  const anywhere = { address: '127.0.0.1', port: 0 }
  const bootstrap = {
    apiVersion: 'sallyport.dev/v1',
    kind: 'EgressGateway',
    metadata: { name: 'istio-egressgateway', namespace: 'istio-system', labels: { istio: 'egressgateway' } },
    spec: {
      resources: ['./resources'],
      meshConfig: { accessLogFile: join(dir, 'access.log') },
      identity: svid.writeTo(join(dir, 'identity')),
      bindAddress: '127.0.0.1',
      ports: { 443: 0 },
      admin: anywhere,
      metrics: anywhere,
      health: anywhere,
    },
  }
  writeFileSync(join(dir, 'gateway.yaml'), JSON.stringify(bootstrap))
  const before = performance.now()
  const child = pinned(['run', '-f', join(dir, 'gateway.yaml')])
  let text = ''
  child.stderr?.on('data', (chunk: Buffer) => (text += chunk.toString()))
  child.once('exit', (code) => code !== null && process.stderr.write(text))
  const ready = await eventually(`${name} is ready`, () => /"ports":(\{[^}]*\})/.exec(text), PATIENCE_MS)
  const { 443: port = 0 } = JSON.parse(ready[1] ?? '{}') as Record<string, number>
  const activations = () => text.split('configuration activated').length - 1
  return {
    pid: child.pid ?? 0,
    port,
    readyMs: performance.now() - before,
    bytes,
    reload: async (round) => {
      const seen = activations()
      writeFileSync(
        join(dir, 'gateway.yaml'),
        JSON.stringify({ ...bootstrap, spec: { ...bootstrap.spec, tunnels: { maxDuration: `${round + 1}h` } } }),
      )
      const begun = performance.now()
      await eventually(`${name} has reloaded`, () => (activations() > seen ? true : null), PATIENCE_MS)
      return performance.now() - begun
    },
    stop: () => child.kill('SIGKILL'),
  }
}

/** On the first core, where there is `taskset`. */
function pinned(args: readonly string[]): ChildProcess {
  const command = join(import.meta.dirname, '../bin/sallyport')
  const tool = spawnSync('taskset', ['-c', '0', 'true']).status === 0 ? ['taskset', '-c', '0'] : []
  const [file = command, ...rest] = [...tool, command, ...args]
  return spawn(file, rest, { stdio: ['ignore', 'ignore', 'pipe'] })
}

function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  const at = share * (sorted.length - 1)
  const low = sorted[Math.floor(at)] ?? 0
  return low + ((sorted[Math.ceil(at)] ?? 0) - low) * (at - Math.floor(at))
}

type Round = readonly [small: number, large: number]

/** Small and large with these hosts each, in turn which of them goes first. */
async function rounds(
  cost: (index: number, hosts: readonly string[]) => Promise<number>,
  hosts: readonly [small: readonly string[], large: readonly string[]],
): Promise<readonly Round[]> {
  const rows: Round[] = []
  for (let round = -WARM_UP; round < ROUNDS; round++) {
    const first = round % 2 === 0 ? 0 : 1
    const before = await cost(first, hosts[first])
    const after = await cost(1 - first, hosts[first === 0 ? 1 : 0])
    if (round >= 0) rows.push(first === 0 ? [before, after] : [after, before])
  }
  return rows
}

function medians(rows: readonly Round[]): string {
  const [small, large] = [rows.map((row) => row[0]), rows.map((row) => row[1])]
  return `${quantile(small, 0.5).toFixed(0)} µs | ${quantile(large, 0.5).toFixed(0)} µs`
}

function ratios(rows: readonly Round[]): string {
  const all = rows.map(([small, large]) => large / small)
  const [low, middle, high] = [0.25, 0.5, 0.75].map((share) => quantile(all, share).toFixed(2))
  return `${middle} (${low}–${high})`
}

const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`

pinSelf()
const pki = await createTestPki()
const load = await ScaleLoad.start(pki)
const dir = mkdtempSync(join(tmpdir(), 'sallyport-bench-'))
const gateways: Measured[] = []
try {
  const small = await start('small', SMALL, pki, load.originPort, join(dir, 'small'))
  gateways.push(small)
  const large = await start('large', LARGE, pki, load.originPort, join(dir, 'large'))
  gateways.push(large)
  const fresh = gateways.map(({ pid }) => residentMb(pid))

  const one = [scaleHost(REACHABLE.first)]
  const many: string[] = []
  for (let i: number = REACHABLE.first; i < LARGE.routes; i += REACHABLE.every) many.push(scaleHost(i))
  const sockets = await Promise.all(gateways.map(({ port }) => load.connect(port, one[0] ?? '')))
  /** CPU µs per request of a gateway. */
  const cost = async (index: number, hosts: readonly string[]): Promise<number> => {
    const { pid } = gateways[index] as Measured
    const before = cpuSeconds(pid)
    await run(sockets[index] ?? [], hosts, REQUESTS)
    return ((cpuSeconds(pid) - before) * 1e6) / REQUESTS
  }
  const same = await rounds(cost, [one, one])
  const spread = await rounds(cost, [one, many])
  const used = gateways.map(({ pid }) => residentMb(pid))

  const reloads: number[] = []
  const waits: number[] = []
  for (let round = 0; round < RELOADS; round++) {
    const reloading = large.reload(round)
    const [socket] = sockets[1] ?? []
    if (socket !== undefined) waits.push(await longest(socket, one[0] ?? '', reloading))
    reloads.push(await reloading)
  }
  const afterwards = residentMb(large.pid)

  console.log(
    `| | ${SMALL.services} entries, ${SMALL.routes} routes | ${LARGE.services} entries, ${LARGE.routes} routes |`,
  )
  console.log('|---|--:|--:|')
  console.log(`| YAML | ${(small.bytes / 1e6).toFixed(3)} MB | ${(large.bytes / 1e6).toFixed(1)} MB |`)
  console.log(
    `| from the start of the process until it listens | ${seconds(small.readyMs)} | ${seconds(large.readyMs)} |`,
  )
  console.log(
    `| from a change of a file until it is active (median of ${RELOADS}) | | ${seconds(quantile(reloads, 0.5))} |`,
  )
  console.log(`| longest a request waited for a reload | | ${seconds(Math.max(...waits))} |`)
  console.log(
    `| RSS: after the start, after ${2 * REQUESTS * (ROUNDS + WARM_UP)} requests | ${fresh[0]}, ${used[0]} MB | ${fresh[1]}, ${used[1]} MB |`,
  )
  console.log(`| RSS after ${RELOADS} reloads | | ${afterwards} MB |`)
  console.log(`| CPU per request, one host (median of ${ROUNDS} rounds) | ${medians(same)} |`)
  console.log(`| … ratio within a round: median (quartiles) | 1 | ${ratios(same)} |`)
  console.log(`| CPU per request, one host, and ${many.length} hosts in turn | ${medians(spread)} |`)
  console.log(`| … ratio within a round: median (quartiles) | 1 | ${ratios(spread)} |`)
} finally {
  for (const gateway of gateways) gateway.stop()
  load.close()
  rmSync(dir, { recursive: true, force: true })
}
