/**
 * `bench/store-failures.ts`: what a gateway does to its callers while Redis fails, and how closely gateways hold a global
 * limit together. Prints the tables of docs/reliability.md. Starts its own redis-server, sites and gateways, all on this
 * machine. BENCH_SECONDS: how long each fault lasts (default 3).
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { eventually } from '../src/testing/eventually.ts'
import { plainConnect, request } from '../src/testing/mesh-client.ts'
import { startEchoOrigin } from '../src/testing/origin.ts'
import { type Detour, detourTo, RedisServer } from '../src/testing/redis.ts'

const SECONDS = Number(process.env['BENCH_SECONDS'] ?? 3)
const HOST = 'site.example'
const SALLYPORT = join(import.meta.dirname, '../bin/sallyport')
const CONNECTIONS = 4

type Gateway = { readonly port: number; readonly metrics: number; readonly pid: number; stop(): Promise<void> }

function resources(site: number, requests: object): string {
  const spec = { hosts: [HOST], location: 'MESH_EXTERNAL', resolution: 'STATIC' }
  const all = [
    {
      apiVersion: 'networking.istio.io/v1',
      kind: 'Gateway',
      metadata: { name: 'egress', namespace: 'istio-system' },
      spec: {
        selector: { istio: 'egressgateway' },
        servers: [{ port: { number: 80, name: 'http', protocol: 'HTTP' }, hosts: ['*'] }],
      },
    },
    {
      apiVersion: 'networking.istio.io/v1',
      kind: 'ServiceEntry',
      metadata: { name: 'site', namespace: 'istio-system' },
      spec: {
        ...spec,
        ports: [{ number: 80, name: 'http', protocol: 'HTTP' }],
        endpoints: [{ address: '127.0.0.1', ports: { http: site } }],
      },
    },
    {
      apiVersion: 'networking.istio.io/v1',
      kind: 'VirtualService',
      metadata: { name: 'site', namespace: 'istio-system' },
      spec: {
        hosts: [HOST],
        gateways: ['egress'],
        http: [{ route: [{ destination: { host: HOST, port: { number: 80 } } }] }],
      },
    },
    {
      apiVersion: 'sallyport.dev/v1alpha1',
      kind: 'EgressRateLimit',
      metadata: { name: 'limits', namespace: 'istio-system' },
      spec: { limits: [{ name: 'all', key: [], scope: 'global', onStoreFailure: 'open', requests }] },
    },
  ]
  return all.map((each) => JSON.stringify(each)).join('\n---\n')
}

async function startGateway(dir: string, redisPort: number, text: string, more: object = {}): Promise<Gateway> {
  mkdirSync(join(dir, 'resources'), { recursive: true })
  writeFileSync(join(dir, 'resources/all.yaml'), text)
  const anywhere = { address: '127.0.0.1', port: 0 }
  const spec = {
    resources: ['./resources'],
    meshConfig: { accessLogFile: '' },
    bindAddress: '127.0.0.1',
    ports: { 80: 0 },
    admin: anywhere,
    metrics: anywhere,
    health: anywhere,
    redis: { url: `redis://127.0.0.1:${redisPort}`, ...more },
  }
  const metadata = { name: 'istio-egressgateway', namespace: 'istio-system', labels: { istio: 'egressgateway' } }
  const file = join(dir, 'gateway.yaml')
  writeFileSync(file, JSON.stringify({ apiVersion: 'sallyport.dev/v1', kind: 'EgressGateway', metadata, spec }))
  const child: ChildProcess = spawn(SALLYPORT, ['run', '-f', file], { stdio: ['ignore', 'ignore', 'pipe'] })
  let stderr = ''
  child.stderr?.setEncoding('utf8').on('data', (part: string) => (stderr += part))
  const ready = await eventually('the gateway is ready', () => {
    if (child.exitCode !== null) throw new Error(stderr)
    return /^.*"gateway ready".*$/m.exec(stderr)?.[0]
  })
  const { control, ports } = JSON.parse(ready) as {
    readonly control: Readonly<Record<string, string>>
    readonly ports: Readonly<Record<string, number>>
  }
  return {
    port: ports['80'] ?? 0,
    metrics: Number(control['metrics']?.split(':').at(-1)),
    pid: child.pid ?? 0,
    stop: async () => {
      child.kill('SIGKILL')
      await eventually('it has ended', () => child.exitCode !== null || child.signalCode !== null)
    },
  }
}

async function gauge({ metrics }: Gateway, name: string): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${metrics}/stats/prometheus`)).text()
  return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1])
}

const residentMb = (pid: number) =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024

/** Asks without a pause until told to stop; every answer's status and how long it took. */
class Load {
  #running = true
  readonly #workers: readonly Promise<void>[]
  answers = 0
  passed = 0
  failed = 0
  slowestMs = 0

  constructor(gateway: Gateway, connections: number) {
    this.#workers = Array.from({ length: connections }, () => this.#work(gateway))
  }

  async #work({ port }: Gateway): Promise<void> {
    const socket = await plainConnect(port)
    while (this.#running) {
      const since = performance.now()
      const { status } = await request(socket, HOST)
      this.slowestMs = Math.max(this.slowestMs, performance.now() - since)
      this.answers += 1
      if (status === 200) this.passed += 1
      else if (status !== 429) this.failed += 1
    }
    socket.destroy()
  }

  async stop(): Promise<this> {
    this.#running = false
    await Promise.all(this.#workers)
    return this
  }
}

type World = { readonly redis: RedisServer; readonly detour: Detour }
type Fault = { readonly begin: (world: World) => unknown; readonly end: (world: World) => unknown }

const FAULTS: Readonly<Record<string, Fault>> = {
  'none (for comparison)': { begin: () => undefined, end: () => undefined },
  'killed, then started empty': { begin: ({ redis }) => redis.kill(), end: ({ redis }) => redis.restart() },
  'paused (SIGSTOP)': { begin: ({ redis }) => redis.pause(), end: ({ redis }) => redis.resume() },
  'slow (answers 100 ms late)': {
    begin: ({ detour }) => (detour.delayMs = 100),
    end: ({ detour }) => (detour.delayMs = 0),
  },
  'READONLY (a replica)': {
    begin: ({ redis }) => redis.command('REPLICAOF', '127.0.0.1', '1'),
    end: ({ redis }) => redis.command('REPLICAOF', 'NO', 'ONE'),
  },
  'answering garbage': {
    begin: ({ detour }) => (detour.garbage = true),
    end: ({ detour }) => (detour.garbage = false),
  },
}

/** The first thousand or so requests of a process are slow for reasons of their own. */
async function warmUp(gateway: Gateway): Promise<void> {
  const load = new Load(gateway, CONNECTIONS)
  await delay(2000)
  await load.stop()
}

async function faults(dir: string, site: number): Promise<void> {
  console.log('| Redis is | answers | failed | slowest answer | memory before → after | answers again after |')
  console.log('|---|---|---|---|---|---|')
  const redis = await RedisServer.start()
  const detour = await detourTo(redis.port)
  // No leases: every request asks, so that every request would notice.
  const text = resources(site, { count: 1_000_000_000, per: 'second' })
  const gateway = await startGateway(join(dir, 'faults'), detour.port, text, { leases: { max: 1 } })
  await warmUp(gateway)
  for (const [name, { begin, end }] of Object.entries(FAULTS)) {
    const before = residentMb(gateway.pid)
    const load = new Load(gateway, CONNECTIONS)
    await delay(200)
    load.slowestMs = 0
    await begin({ redis, detour })
    await delay(SECONDS * 1000)
    await load.stop()
    const after = residentMb(gateway.pid)
    const since = performance.now()
    await end({ redis, detour })
    await eventually(
      'the store is up',
      async () => (await gauge(gateway, 'sallyport_rate_limit_store_up')) === 1,
      60_000,
    )
    const healed = name.startsWith('none') ? '–' : `${((performance.now() - since) / 1000).toFixed(1)} s`
    const memory = `${before.toFixed(0)} → ${after.toFixed(0)} MB`
    const slowest = `${load.slowestMs.toFixed(0)} ms`
    console.log(`| ${name} | ${load.answers} | ${load.failed} | ${slowest} | ${memory} | ${healed} |`)
    await delay(6000)
  }
  await gateway.stop()
  await detour.close()
  await redis.close()
}

async function bound(dir: string, site: number): Promise<void> {
  const redis = await RedisServer.start()
  const text = resources(site, { count: 1000, per: 'minute' })
  const gateways = await Promise.all(
    [1, 2, 3, 4].map((i) => startGateway(join(dir, `bound-${i}`), redis.port, text, { timeout: '500ms' })),
  )
  const since = performance.now()
  const loads = gateways.map((gateway) => new Load(gateway, 2))
  await delay(15_000)
  const ended = await Promise.all(loads.map((load) => load.stop()))
  const seconds = (performance.now() - since) / 1000
  const sum = (read: (load: Load) => number) => ended.reduce((total, load) => total + read(load), 0)
  const most = 1000 + (1000 / 60) * seconds
  const questions = await Promise.all(
    gateways.map((gateway) => gauge(gateway, 'sallyport_rate_limit_store_questions_total')),
  )
  console.log(`\n4 processes, 1000 a minute, ${seconds.toFixed(1)} s of load:`)
  console.log(`asked ${sum(({ answers }) => answers)}, passed ${sum(({ passed }) => passed)}`)
  console.log(
    `the bucket and what has flowed into it: ${most.toFixed(0)}; neither 200 nor 429: ${sum(({ failed }) => failed)}`,
  )
  console.log(`questions to Redis: ${questions.reduce((total, each) => total + each, 0)}`)
  await Promise.all(gateways.map((gateway) => gateway.stop()))
  await redis.close()
}

const dir = mkdtempSync(join(tmpdir(), 'sallyport-store-'))
const site = await startEchoOrigin()
try {
  await faults(dir, site.port)
  await bound(dir, site.port)
} finally {
  await site.close()
  rmSync(dir, { recursive: true, force: true })
}
