/**
 * The demo of docker-compose.yml on loopback, with the demo's own files: certificates by certs/mint.sh, the gateway with compose/gateway,
 * the pretended Internet by a real nginx with compose/nginx.conf, and callers who do what compose/envoy.yaml tells the sidecars
 * (SNI, ALPN, certificates, expected identity). Ports and paths are replaced, and DNS answers as the container network would.
 */
import assert from 'node:assert/strict'
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect as connectTcp } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { type TestContext, test } from 'node:test'
import { connect, type TLSSocket } from 'node:tls'
import { parseAllDocuments, stringify } from 'yaml'
import { startDnsServer } from '../../src/testing/dns-server.ts'
import { eventually } from '../../src/testing/eventually.ts'
import { RedisServer, skipWithoutRedis } from '../../src/testing/redis.ts'
import { run } from '../integration/child.ts'
import { freePort } from '../integration/operator.ts'
import { aliases, ENVOY, type EnvoyCluster, ROOT } from './compose-file.ts'

const probe = spawnSync('nginx', ['-v'])
const skip = probe.error === undefined ? false : 'nginx is not installed (apt-get install nginx-light)'

test('the demo: one workload leaves, the other does not', { skip, timeout: 110_000 }, async (t) => {
  const dir = mkdtempSync(path.join(tmpdir(), 'sallyport-demo-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  const certs = path.join(dir, 'certs')
  execFileSync(path.join(ROOT, 'certs/mint.sh'), [path.join(ROOT, 'compose/identities.txt'), certs])
  const outside = await startOutside(t, dir, path.join(certs, 'outside'))
  const gateway = await startGateway(t, dir, certs, outside.ports)
  const sidecar = (who: string, port: 80 | 443) =>
    throughSidecar({ certs: path.join(certs, who), cluster: clusterOf(port), port: gateway.port(port) })

  await t.test('HTTP to HTTP', async () => {
    const answer = await ask(await sidecar('allowed', 80), 'plain.example')
    assert.match(answer, /^HTTP\/1\.1 200 /)
    assert.match(answer, /outside: GET http:\/\/plain\.example\/tried$/m)
  })

  await t.test('HTTP upgraded to HTTPS', async () => {
    const answer = await ask(await sidecar('allowed', 80), 'upgraded.example')
    assert.match(answer, /^HTTP\/1\.1 200 /)
    assert.match(answer, /outside: GET https:\/\/upgraded\.example\/tried$/m)
  })

  await t.test('the application’s own TLS', async () => {
    const tunnel = await sidecar('allowed', 443)
    const ca = readFileSync(path.join(certs, 'trust/outside.example.pem'))
    const inner = connect({ socket: tunnel, servername: 'secure.example', ca })
    await once(inner, 'secureConnect')
    assert.match(await ask(inner, 'secure.example'), /outside: GET https:\/\/secure\.example\/tried$/m)
  })

  await t.test('a site nobody registered', async () => {
    const answer = await ask(await sidecar('allowed', 80), 'unregistered.example')
    assert.match(answer, /^HTTP\/1\.1 502 /)
    assert.match(answer, /^x-sallyport-reason: not_registered\r$/m)
  })

  await t.test('the other workload', async () => {
    // What the site logs, it logs behind its answer.
    await eventually('the three before have arrived', () => outside.arrivals() === 3)
    const answer = await ask(await sidecar('refused', 80), 'plain.example')
    assert.match(answer, /^HTTP\/1\.1 403 /)
    assert.match(answer, /RBAC: access denied$/)
    const tunnel = await sidecar('refused', 443)
    const inner = connect({ socket: tunnel, servername: 'secure.example', rejectUnauthorized: false })
    await assert.rejects(once(inner, 'secureConnect'))
    assert.equal(outside.arrivals(), 3)
  })
})

const clusterOf = (port: number): EnvoyCluster =>
  ENVOY.static_resources.clusters.find(({ name }) => name.startsWith(`outbound|${port}|`)) ?? assert.fail(String(port))

type Way = { readonly certs: string; readonly cluster: EnvoyCluster; readonly port: number }

/** mTLS as the Envoy of this cluster would make it. */
async function throughSidecar({ certs, cluster, port }: Way): Promise<TLSSocket> {
  const { sni, common_tls_context: tls } = cluster.transport_socket.typed_config
  const file = (inContainer: string) => readFileSync(inContainer.replace(/^\/etc\/certs/, certs))
  const [own] = tls.tls_certificates
  const socket = connect({
    host: '127.0.0.1',
    port,
    servername: sni,
    ALPNProtocols: [...tls.alpn_protocols],
    cert: file(own.certificate_chain.filename),
    key: file(own.private_key.filename),
    ca: file(tls.validation_context.trusted_ca.filename),
    // By the identity, not by the name: as match_typed_subject_alt_names says.
    checkServerIdentity: (_, certificate) => {
      const [{ matcher }] = tls.validation_context.match_typed_subject_alt_names
      const sans = (certificate.subjectaltname ?? '').split(', ')
      return sans.includes(`URI:${matcher.exact}`) ? undefined : new Error(`not ${matcher.exact}: ${sans.join(', ')}`)
    },
  })
  await once(socket, 'secureConnect')
  return socket
}

async function ask(socket: TLSSocket, host: string): Promise<string> {
  socket.write(`GET /tried HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)
  let answer = ''
  for await (const part of socket) answer += String(part)
  return answer.trimEnd()
}

type OutsidePorts = { readonly http: number; readonly https: number }

/** nginx, as compose/nginx.conf says but for ports and paths. */
async function startOutside(t: TestContext, dir: string, certs: string) {
  const ports = { http: await freePort(), https: await freePort() }
  const log = path.join(dir, 'outside.log')
  const config = path.join(dir, 'nginx.conf')
  const text = readFileSync(path.join(ROOT, 'compose/nginx.conf'), 'utf8')
    .replace('listen 80;', `listen 127.0.0.1:${ports.http};`)
    .replace('listen 443 ssl;', `listen 127.0.0.1:${ports.https} ssl;`)
    .replaceAll('/tmp/', `${dir}/`)
    .replaceAll('/etc/certs', certs)
    .replace('/dev/stdout', log)
  writeFileSync(config, text)
  const nginx = spawn('nginx', ['-e', 'stderr', '-c', config, '-g', 'daemon off;'], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let stderr = ''
  nginx.stderr.setEncoding('utf8').on('data', (part: string) => (stderr += part))
  const ended = once(nginx, 'exit')
  t.after(async () => {
    nginx.kill('SIGTERM')
    await ended
  })
  await eventually('nginx answers', async () => {
    if (nginx.exitCode !== null) throw new Error(stderr)
    return reachable(ports.https)
  })
  const lines = () =>
    readFileSync(log, 'utf8')
      .split('\n')
      .filter((line) => line.includes('GET /tried')).length
  return { ports, arrivals: lines }
}

async function reachable(port: number): Promise<true | null> {
  const socket = connectTcp(port, '127.0.0.1')
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return null
  } finally {
    socket.destroy()
  }
}

/** The gateway with compose/gateway, but for ports and paths; the sites' names lead to nginx. */
async function startGateway(t: TestContext, dir: string, certs: string, ports: OutsidePorts) {
  const sites = aliases('outside', 'outside')
  const dns = await startDnsServer(({ name, type }) =>
    sites.includes(name) && type === 'A'
      ? { kind: 'answer', addresses: ['127.0.0.1'], ttl: 60 }
      : { kind: 'rcode', code: 'NXDOMAIN' },
  )
  t.after(() => dns.close())
  const redis = skipWithoutRedis === false ? await RedisServer.start() : null
  t.after(() => redis?.close())
  const target = path.join(dir, 'gateway')
  cpSync(path.join(ROOT, 'compose/gateway'), target, { recursive: true })
  const loopback = { address: '127.0.0.1', port: 0 }
  rewrite(path.join(target, 'gateway.yaml'), '/etc/certs', path.join(certs, 'gateway'), (document) => {
    const { spec } = document as { spec: Record<string, unknown> }
    Object.assign(spec, {
      bindAddress: '127.0.0.1',
      ports: { 80: 0, 443: 0 },
      admin: loopback,
      metrics: loopback,
      health: loopback,
    })
    if (redis === null) delete spec['redis']
    else spec['redis'] = { url: redis.url }
    Object.assign(spec, { dns: { servers: [dns.address] }, addressGuard: { allow: ['127.0.0.1/32'] } })
  })
  for (const file of readdirSync(path.join(target, 'resources')))
    rewrite(path.join(target, 'resources', file), '/etc/trust', path.join(certs, 'trust'), (document) => {
      const { kind, spec } = document as { kind: string; spec: Record<string, unknown> }
      if (kind !== 'ServiceEntry') return
      const [host] = spec['hosts'] as [string]
      const named = (spec['ports'] as { name: string; number: number }[]).map(({ name, number }) => [
        name,
        // What compose/nginx.conf listens on, and nothing else.
        { 80: ports.http, 443: ports.https }[number] ?? assert.fail(`nobody listens on port ${number}`),
      ])
      spec['endpoints'] = [{ address: host, ports: Object.fromEntries(named) }]
    })
  const running = await run(t, path.join(target, 'gateway.yaml'))
  running.child.stdout.resume()
  const warnings = running
    .stderr()
    .split('\n')
    .filter((line) => line.includes('"level":"warning"'))
  assert.deepEqual(warnings, [])
  const ready =
    running
      .stderr()
      .split('\n')
      .find((line) => line.includes('"gateway ready"')) ?? assert.fail('not ready')
  const bound = (JSON.parse(ready) as { readonly ports: Readonly<Record<number, number>> }).ports
  return { port: (gatewayPort: number) => bound[gatewayPort] ?? assert.fail(`port ${gatewayPort}`) }
}

function rewrite(file: string, from: string, to: string, change: (document: unknown) => void): void {
  const documents = parseAllDocuments(readFileSync(file, 'utf8').replaceAll(from, to)).map(
    (each) => each.toJS() as unknown,
  )
  documents.forEach(change)
  writeFileSync(file, documents.map((each) => stringify(each)).join('---\n'))
}
