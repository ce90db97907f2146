/**
 * `npm run bench:tunnel`: CPU nanoseconds per byte of an SNI passthrough tunnel, next to HAProxy's in the same run
 * (method: interleaved rounds, CPU of the process under test from /proc, pinned to one core where taskset exists).
 * HAProxy is named as absent when it is not installed.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import tls from 'node:tls'
import { eventually } from '../src/testing/eventually.ts'
import { startEchoOrigin } from '../src/testing/origin.ts'
import { createTestPki } from '../src/testing/pki.ts'

const MEGABYTES = Number(process.env['BENCH_MB'] ?? 200)
const ROUNDS = 5
const HOST = 'tunnel.example'
/** Clock ticks per second of /proc/PID/stat on Linux. */
const TICKS = 100

const pki = await createTestPki()
const certificate = await pki.serverCert(HOST)
const origin = await startEchoOrigin({ tls: { cert: certificate.cert, key: certificate.key } })
const dir = mkdtempSync(join(tmpdir(), 'sallyport-bench-'))
const children: ChildProcess[] = []

function pinned(command: string, args: readonly string[]): ChildProcess {
  const taskset = spawnSync('taskset', ['-c', '0', 'true']).status === 0
  const [file, list] = taskset ? ['taskset', ['-c', '0', command, ...args]] : [command, [...args]]
  const child = spawn(file, list, { stdio: ['ignore', 'ignore', 'pipe'] })
  children.push(child)
  return child
}

async function startGateway(): Promise<{ readonly pid: number; readonly port: number }> {
  const resources = [
    {
      apiVersion: 'networking.istio.io/v1',
      kind: 'ServiceEntry',
      metadata: { name: 'site', namespace: 'istio-system' },
      spec: {
        hosts: [HOST],
        ports: [{ number: 443, name: 'tls', protocol: 'TLS' }],
        resolution: 'STATIC',
        endpoints: [{ address: '127.0.0.1', ports: { tls: origin.port } }],
      },
    },
    {
      apiVersion: 'networking.istio.io/v1',
      kind: 'Gateway',
      metadata: { name: 'gw', namespace: 'istio-system' },
      spec: {
        selector: { istio: 'egressgateway' },
        servers: [{ port: { number: 443, name: 'tls', protocol: 'TLS' }, tls: { mode: 'PASSTHROUGH' }, hosts: [HOST] }],
      },
    },
    {
      apiVersion: 'networking.istio.io/v1',
      kind: 'VirtualService',
      metadata: { name: 'vs', namespace: 'istio-system' },
      spec: {
        hosts: [HOST],
        gateways: ['gw'],
        tls: [{ match: [{ sniHosts: [HOST] }], route: [{ destination: { host: HOST, port: { number: 443 } } }] }],
      },
    },
  ]
  for (const [index, resource] of resources.entries())
    writeFileSync(join(dir, `r${index}.json`), JSON.stringify(resource))
  const port0 = { address: '127.0.0.1', port: 0 }
  const bootstrap = {
    apiVersion: 'sallyport.dev/v1',
    kind: 'EgressGateway',
    metadata: { name: 'istio-egressgateway', namespace: 'istio-system', labels: { istio: 'egressgateway' } },
    spec: {
      resources: resources.map((_, index) => `./r${index}.json`),
      meshConfig: { accessLogFile: join(dir, 'access.log') },
      bindAddress: '127.0.0.1',
      ports: { 443: 0 },
      admin: port0,
      metrics: port0,
      health: port0,
    },
  }
  writeFileSync(join(dir, 'gateway.yaml'), JSON.stringify(bootstrap))
  const child = pinned(join(import.meta.dirname, '../bin/sallyport'), ['run', '-f', join(dir, 'gateway.yaml')])
  let text = ''
  child.stderr?.on('data', (chunk: Buffer) => (text += chunk.toString()))
  child.once('exit', () => process.stderr.write(text))
  const ready = await eventually('the gateway is ready', () => /\{.*"ports":\{"443":(\d+)\}.*\}/.exec(text), 20_000)
  return { pid: child.pid ?? 0, port: Number(ready[1]) }
}

async function startHaproxy(): Promise<{ readonly pid: number; readonly port: number } | null> {
  if (spawnSync('haproxy', ['-v']).status !== 0) return null
  const port = 20_000 + (process.pid % 20_000)
  const config = `global\n  nbthread 1\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\nfrontend f\n  bind 127.0.0.1:${port}\n  tcp-request inspect-delay 5s\n  tcp-request content accept if { req.ssl_hello_type 1 }\n  tcp-request content reject unless { req.ssl_sni -i ${HOST} }\n  default_backend b\nbackend b\n  server s 127.0.0.1:${origin.port}\n`
  writeFileSync(join(dir, 'haproxy.cfg'), config)
  const child = pinned('haproxy', ['-db', '-f', join(dir, 'haproxy.cfg')])
  await eventually('haproxy listens', () =>
    download(port, 1)
      .then(() => true)
      .catch(() => false),
  )
  return { pid: child.pid ?? 0, port }
}

/** Fetches `megabytes` through the tunnel. */
async function download(port: number, megabytes: number): Promise<void> {
  const socket = tls.connect({ host: '127.0.0.1', port, servername: HOST, ca: pki.root })
  await once(socket, 'secureConnect')
  socket.write(`GET /bytes/${megabytes * 1_000_000} HTTP/1.1\r\nhost: ${HOST}\r\nconnection: close\r\n\r\n`)
  let bytes = 0
  socket.on('data', (chunk: Buffer) => (bytes += chunk.length))
  await once(socket, 'close')
  if (bytes < megabytes * 1_000_000) throw new Error(`only ${bytes} bytes came`)
}

function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
  return (Number(fields[11]) + Number(fields[12])) / TICKS
}

function residentMb(pid: number): number {
  return Math.round(Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1024)
}

const median = (values: readonly number[]) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0

try {
  const contenders = { sallyport: await startGateway(), haproxy: await startHaproxy() }
  if (contenders.haproxy === null) console.log('haproxy: not installed')
  const nanoseconds = new Map<string, number[]>()
  for (const target of Object.values(contenders)) if (target !== null) await download(target.port, MEGABYTES)
  const before = residentMb(contenders.sallyport.pid)
  for (let round = 0; round < ROUNDS; round++) {
    for (const [name, target] of Object.entries(contenders)) {
      if (target === null) continue
      const start = cpuSeconds(target.pid)
      await download(target.port, MEGABYTES)
      const list = nanoseconds.get(name) ?? []
      list.push(((cpuSeconds(target.pid) - start) * 1e9) / (MEGABYTES * 1e6))
      nanoseconds.set(name, list)
    }
  }
  for (const [name, list] of nanoseconds)
    console.log(`${name.padEnd(10)} ${median(list).toFixed(2)} ns/byte (median of ${ROUNDS} × ${MEGABYTES} MB)`)
  const [ours, theirs] = [median(nanoseconds.get('sallyport') ?? []), median(nanoseconds.get('haproxy') ?? [])]
  if (theirs > 0) console.log(`ratio      ${(ours / theirs).toFixed(2)} × haproxy`)
  console.log(`sallyport RSS before/after: ${before} / ${residentMb(contenders.sallyport.pid)} MB`)
} finally {
  for (const child of children) child.kill('SIGKILL')
  await origin.close()
  rmSync(dir, { recursive: true, force: true })
}
