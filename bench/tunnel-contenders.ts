/** The processes `bench:tunnel` measures: Sallyport, HAProxy with and without splice, or another checkout of Sallyport. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { join } from 'node:path'
import { eventually } from '../src/testing/eventually.ts'
import type { TestPki } from '../src/testing/pki.ts'
import { documents, gateway, ISTIO_MUTUAL, serviceEntry, to, virtualService } from '../test/integration/manifests.ts'
import { HOSTS } from './tunnel-load.ts'

export type Contender = {
  readonly name: string
  readonly pid: number
  readonly ports: { readonly passthrough: number; readonly mtls: number }
  stop(): void
}

type Sites = { readonly raw: number; readonly tls: number }

const MESH = 443
const PASS = 8443
/** Clock ticks per second of /proc/PID/stat on Linux. */
const TICKS = 100
const HAS_TASKSET = spawnSync('taskset', ['-c', '0', 'true']).status === 0

/** This process and what it starts later goes to the second core, what is measured to the first. */
export function pinSelf(): void {
  if (HAS_TASKSET) spawnSync('taskset', ['-a', '-p', '-c', '1', String(process.pid)])
}

function pinned(command: string, args: readonly string[]): ChildProcess {
  const [file, list] = HAS_TASKSET ? ['taskset', ['-c', '0', command, ...args]] : [command, [...args]]
  return spawn(file, list, { stdio: ['ignore', 'ignore', 'pipe'] })
}

/** User and system time of a process, seconds. */
export function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
  return (Number(fields[11]) + Number(fields[12])) / TICKS
}

export function residentMb(pid: number): number {
  return Math.round(Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1024)
}

/** `checkout`: whose bin/sallyport to run. */
export async function startSallyport(
  name: string,
  checkout: string,
  pki: TestPki,
  sites: Sites,
  dir: string,
): Promise<Contender> {
  mkdirSync(dir)
  const svid = await pki.svid('istio-system/istio-egressgateway-service-account')
  svid.writeTo(join(dir, 'identity'))
  const hosts = [
    { host: HOSTS.raw, target: sites.raw },
    { host: HOSTS.tls, target: sites.tls },
  ]
  const resources = documents(
    gateway(
      { number: MESH, name: 'mesh', protocol: 'TLS', tls: ISTIO_MUTUAL },
      { number: PASS, name: 'pass', protocol: 'TLS', tls: { mode: 'PASSTHROUGH' } },
    ),
    ...hosts.map(({ host, target }) => serviceEntry(`s-${target}`, host, target, { port: 443, protocol: 'TLS' })),
    ...hosts.map(({ host, target }) =>
      virtualService(`v-${target}`, [host], [], {
        http: undefined,
        tls: [MESH, PASS].map((port) => ({ match: [{ port, sniHosts: [host] }], route: to(host, 443) })),
      }),
    ),
  )
  writeFileSync(join(dir, 'resources.yaml'), resources)
  const port0 = { address: '127.0.0.1', port: 0 }
  const bootstrap = {
    apiVersion: 'sallyport.dev/v1',
    kind: 'EgressGateway',
    metadata: { name: 'istio-egressgateway', namespace: 'istio-system', labels: { istio: 'egressgateway' } },
    spec: {
      resources: ['./resources.yaml'],
      meshConfig: { accessLogFile: join(dir, 'access.log') },
      identity: {
        certificateChain: 'identity/cert-chain.pem',
        privateKey: 'identity/key.pem',
        trustBundle: 'identity/root-cert.pem',
      },
      bindAddress: '127.0.0.1',
      ports: { [MESH]: 0, [PASS]: 0 },
      admin: port0,
      metrics: port0,
      health: port0,
    },
  }
  writeFileSync(join(dir, 'gateway.yaml'), JSON.stringify(bootstrap))
  const child = pinned(join(checkout, 'bin/sallyport'), ['run', '-f', join(dir, 'gateway.yaml')])
  let text = ''
  child.stderr?.on('data', (chunk: Buffer) => (text += chunk.toString()))
  child.once('exit', (code) => code !== null && process.stderr.write(text))
  const ready = await eventually(`${name} is ready`, () => /"ports":(\{[^}]*\})/.exec(text), 20_000)
  const ports = JSON.parse(ready[1] ?? '{}') as Record<string, number>
  return {
    name,
    pid: child.pid ?? 0,
    ports: { passthrough: ports[PASS] ?? 0, mtls: ports[MESH] ?? 0 },
    stop: () => child.kill('SIGKILL'),
  }
}

/** null: not installed. */
export async function startHaproxy(
  name: string,
  options: readonly string[],
  pki: TestPki,
  sites: Sites,
  dir: string,
): Promise<Contender | null> {
  if (spawnSync('haproxy', ['-v']).status !== 0) return null
  mkdirSync(dir)
  const { cert, key } = await pki.svid('istio-system/istio-egressgateway-service-account')
  writeFileSync(join(dir, 'server.pem'), cert + key, { mode: 0o600 })
  pki.writeTo(dir)
  const ports = { passthrough: await freePort(), mtls: await freePort() }
  const choose = `  tcp-request inspect-delay 5s
  tcp-request content reject if { req.ssl_hello_type 1 } !{ req.ssl_sni -i ${HOSTS.raw} ${HOSTS.tls} }
  tcp-request content accept if { req.ssl_hello_type 1 }
  use_backend t if { req.ssl_sni -i ${HOSTS.tls} }
  default_backend r`
  const verify = `ssl crt ${join(dir, 'server.pem')} ca-file ${join(dir, 'root-cert.pem')} verify required alpn istio`
  writeFileSync(
    join(dir, 'haproxy.cfg'),
    `global
  nbthread 1
  ssl-default-bind-options ssl-min-ver TLSv1.3
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
${options.map((option) => `  option ${option}\n`).join('')}frontend p
  bind 127.0.0.1:${ports.passthrough}
${choose}
frontend m
  bind 127.0.0.1:${ports.mtls} ${verify}
${choose}
backend r
  server s 127.0.0.1:${sites.raw}
backend t
  server s 127.0.0.1:${sites.tls}
`,
  )
  const child = pinned('haproxy', ['-db', '-f', join(dir, 'haproxy.cfg')])
  let text = ''
  child.stderr?.on('data', (chunk: Buffer) => (text += chunk.toString()))
  child.once('exit', (code) => code !== null && process.stderr.write(text))
  await eventually(`${name} listens`, () => reachable(ports.mtls))
  return { name, pid: child.pid ?? 0, ports, stop: () => child.kill('SIGKILL') }
}

async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as net.AddressInfo
  server.close()
  return port
}

async function reachable(port: number): Promise<boolean> {
  const socket = net.connect(port, '127.0.0.1')
  const connected = await once(socket, 'connect').then(
    () => true,
    () => false,
  )
  socket.destroy()
  return connected
}
