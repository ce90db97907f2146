/** Which servers this gateway has: selection, merging, TLS material (behaviour §3). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { findings, testResource, testSettings } from '../testing/resources.ts'
import { bindGateways } from './gateways.ts'
import { gateway } from './kinds/gateway.ts'
import { collectDiagnostics } from './report.ts'
import type { Resource } from './resource.ts'

type Server = Record<string, unknown>

function http(number: number, hosts: string[], extra: Server = {}): Server {
  return { hosts, port: { number, name: `http-${number}`, protocol: 'HTTP' }, ...extra }
}

function tls(
  number: number,
  name: string,
  hosts: string[],
  settings: Server = { mode: 'ISTIO_MUTUAL' },
  protocol = 'HTTPS',
): Server {
  return { hosts, port: { number, name, protocol }, tls: settings }
}

function resource(name: string, servers: Server[], selector: Record<string, string> = {}): Resource {
  return testResource(gateway, { name, namespace: 'ns' }, { selector, servers }) as Resource
}

function bind(...resources: Resource[]) {
  const collector = collectDiagnostics()
  const { servers, known } = bindGateways(testSettings(), resources, collector.report)
  return { servers, known, findings: findings(collector).map((each) => each.replace('Gateway/ns/', '')) }
}

test('a selector must be contained in our labels; none selects every gateway', () => {
  const result = bind(
    resource('all', [http(80, ['a.com'])]),
    resource('ours', [http(81, ['a.com'])], { istio: 'egressgateway' }),
    resource('other', [http(82, ['a.com'])], { istio: 'ingressgateway' }),
    resource('proto', [http(83, ['a.com'])], { toString: 'x' }),
  )
  assert.deepEqual(
    result.servers.map(({ gateway: name }) => name),
    ['ns/all', 'ns/ours'],
  )
  assert.deepEqual(result.findings, ['SP4010 other:spec.selector', 'SP4010 proto:spec.selector'])
  assert.equal(result.known.has('ns/other'), true)
})

test('hosts lose their namespace for SNI and keep it for binding', () => {
  const [server] = bind(resource('g', [tls(80, 'p', ['./A.com', 'x/*.b.com', '*'])])).servers
  assert.deepEqual(server?.hosts, [
    { namespace: 'ns', host: 'a.com' },
    { namespace: 'x', host: '*.b.com' },
    { namespace: '*', host: '*' },
  ])
  assert.deepEqual(server.model.sniHosts, ['a.com', '*.b.com', '*'])
  assert.equal(server.model.name, 'ns/g/p')
})

test('tables: plaintext servers of a port share one, HTTPS servers have their own', () => {
  const { servers, findings: found } = bind(
    resource('g', [http(80, ['a.com']), tls(443, 'one', ['a.com']), tls(443, 'two', ['b.com'])]),
    resource('h', [{ ...http(80, ['b.com']), port: { number: 80, name: 'grpc', protocol: 'GRPC' } }]),
  )
  assert.deepEqual(found, [])
  assert.deepEqual(
    servers.map(({ model }) => model.routeTable),
    ['http.80', 'https.443.one.g.ns', 'https.443.two.g.ns', 'http.80'],
  )
})

test('a TLS server whose host is taken is dropped, the later by name', () => {
  const result = bind(resource('b', [tls(443, 'p', ['a.com', 'c.com'])]), resource('a', [tls(443, 'p', ['a.com'])]))
  assert.deepEqual(
    result.servers.map(({ gateway: name }) => name),
    ['ns/a'],
  )
  assert.deepEqual(result.findings, ['SP4005 b:spec.servers.0.port'])
})

test('plaintext and TLS do not share a port', () => {
  const result = bind(resource('a', [tls(80, 'p', ['a.com'])]), resource('b', [http(80, ['b.com'])]))
  assert.deepEqual(
    result.servers.map(({ gateway: name }) => name),
    ['ns/a'],
  )
  assert.deepEqual(result.findings, ['SP4006 b:spec.servers.0.port'])
})

test('terminating and passing through the same SNI is a tie, hence an error; different specificity is fine', () => {
  const passthrough = (hosts: string[]) => tls(443, 'p', hosts, { mode: 'PASSTHROUGH' }, 'TLS')
  const tie = bind(resource('a', [tls(443, 'm', ['*'])]), resource('b', [passthrough(['*'])]))
  assert.deepEqual(tie.findings, ['SP4007 b:spec.servers.0.port'])
  const fine = bind(resource('a', [tls(443, 'm', ['*'])]), resource('b', [passthrough(['a.com'])]))
  assert.deepEqual(fine.findings, [])
  assert.deepEqual(
    fine.servers.map(({ model }) => model.application),
    ['http', 'tunnel'],
  )
})

test('servers for opaque bytes are tunnels with a table of their own', () => {
  const tcp = { hosts: ['*'], port: { number: 3306, name: 'tcp', protocol: 'TCP' } }
  const result = bind(resource('g', [tcp, tls(444, 'mtls', ['*'], { mode: 'ISTIO_MUTUAL' }, 'TLS')]))
  assert.deepEqual(
    result.servers.map(({ model }) => [model.application, model.tls?.mode ?? null, model.tunnelTable]),
    [
      ['tunnel', null, 'tunnel.3306.tcp.g.ns'],
      ['tunnel', 'ISTIO_MUTUAL', 'tunnel.444.mtls.g.ns'],
    ],
  )
  assert.deepEqual(result.findings, [])
})

test('certificates: files, secrets, the mesh', () => {
  const material = (settings: Server) => {
    const { servers, findings: found } = bind(resource('g', [tls(443, 'p', ['*'], settings)]))
    return { tls: servers[0]?.model.tls, found }
  }
  const files = { serverCertificate: '/c.pem', privateKey: '/k.pem', caCertificates: '/ca.pem' }
  const mutual = material({
    mode: 'MUTUAL',
    ...files,
    minProtocolVersion: 'TLSV1_3',
    cipherSuites: ['AES128-SHA', 'X'],
  })
  assert.deepEqual(mutual.tls?.certificates, [{ certificateChain: '/c.pem', privateKey: '/k.pem' }])
  assert.equal(mutual.tls.clientCa, '/ca.pem')
  assert.equal(mutual.tls.minVersion, 'TLSv1.3')
  assert.equal(mutual.tls.ciphers, 'AES128-SHA')
  assert.deepEqual(mutual.found, ['SP4011 g:spec.servers.0.tls.cipherSuites.1'])

  const secret = material({ mode: 'MUTUAL', credentialName: 'istio-system/web' }).tls
  assert.deepEqual(secret?.certificates, [
    { certificateChain: '/secrets/web/tls.crt', privateKey: '/secrets/web/tls.key' },
  ])
  assert.equal(secret.clientCa, '/secrets/web/ca.crt')

  const mesh = material({
    mode: 'ISTIO_MUTUAL',
    subjectAltNames: ['spiffe://x/y'],
    verifyCertificateHash: [`AB:${'cd'.repeat(31)}`],
  }).tls
  assert.equal(mesh?.certificates, 'mesh')
  assert.equal(mesh.clientCa, 'mesh')
  assert.deepEqual(mesh.subjectAltNames, ['spiffe://x/y'])
  assert.deepEqual(mesh.certificatePins, [`ab${'cd'.repeat(31)}`])

  assert.equal(material({ mode: 'SIMPLE', ...files }).tls?.clientCa, null)
})

test('a secret cannot be named out of its directory, nor out of our namespace; paths are absolute', () => {
  const found = (settings: Server) =>
    bind(resource('g', [tls(443, 'p', ['*'], { mode: 'SIMPLE', ...settings })])).findings.map((each) =>
      each.replace('g:spec.servers.0.tls.', ''),
    )
  for (const credentialName of ['../x', 'a/../x', '..', 'A', 'other/web', 'a..b'])
    assert.deepEqual(found({ credentialName }), ['SP4002 credentialName'], credentialName)
  assert.deepEqual(found({ serverCertificate: 'c.pem', privateKey: '/k.pem' }), ['SP4002 serverCertificate'])
})

test('bind is not honoured, so a narrower address is an error', () => {
  assert.deepEqual(bind(resource('g', [http(80, ['*'], { bind: '10.0.0.1' })])).findings, [
    'SP4012 g:spec.servers.0.bind',
  ])
  assert.deepEqual(bind(resource('g', [http(80, ['*'], { bind: '0.0.0.0' })])).findings, [])
})
