/** Every field of a Gateway's servers but `tls` (behaviour §3.1, 3.4): where the gateway listens, and for which hosts. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { plainConnect, rawExchange, request } from '../../src/testing/mesh-client.ts'
import { documents, gateway, type Manifest, to, virtualService } from '../integration/manifests.ts'
import { askControl } from '../integration/operator.ts'
import { A, B, HOST, type RouteSite, routeSite, siteOf, told } from './route-site.ts'

const RULES = [{ route: to(A) }]
const PLAIN = { number: 80, name: 'http', protocol: 'HTTP' }

/** A Gateway called `egress`, as routeSite's, with this server. */
function server(fields: object, spec: object = {}): Manifest {
  const base = gateway() as Manifest & { readonly spec: object }
  return { ...base, spec: { ...base.spec, servers: [{ port: PLAIN, hosts: ['*'], ...fields }], ...spec } }
}

/** Loads another Gateway beside what there is. */
async function become({ harness }: RouteSite, manifest: Manifest): Promise<readonly string[]> {
  const site = virtualService('site', [HOST], RULES)
  return (await harness.change({ 'gateway.yaml': documents(manifest, site) })).errors
}

/** A site without the Gateway and VirtualService that `become` brings. */
const bare = { gateway: { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'none', namespace: 'x' } } } as const

/** What comes back for one request on a Gateway port, until it closes. */
async function raw({ harness }: RouteSite, port: number, host = HOST): Promise<string> {
  return rawExchange(
    await plainConnect(harness.gateway.port(port)),
    `GET / HTTP/1.1\r\nhost: ${host}\r\nconnection: close\r\n\r\n`,
  )
}

test('field Gateway.selector: only gateways that have all the labels', async (t) => {
  const site = await routeSite(t, [], bare)
  for (const [selector, served] of [
    [{ istio: 'egressgateway' }, true],
    [{ istio: 'egressgateway', app: 'istio-egressgateway' }, true],
    [{ istio: 'ingressgateway' }, false],
    [{ istio: 'egressgateway', version: 'v2' }, false],
    [{}, true],
  ] as const) {
    assert.deepEqual(await become(site, server({}, { selector })), [])
    assert.equal((await raw(site, 80)).startsWith('HTTP/1.1 200 '), served, JSON.stringify(selector))
  }
})

test('field Gateway.servers[].hosts: which VirtualServices it carries, of which namespaces', async (t) => {
  const site = await routeSite(t, [], bare)
  for (const [hosts, served] of [
    [[HOST], true],
    [['*.example'], true],
    [['./*'], true],
    [['istio-system/*'], true],
    [['other.example'], false],
    [['*.other.example'], false],
    [[`apps/${HOST}`], false],
  ] as const) {
    assert.deepEqual(await become(site, server({ hosts })), [])
    assert.match(await raw(site, 80), served ? /^HTTP\/1\.1 200 / : /^HTTP\/1\.1 (?:404|502) /, hosts.join())
  }
})

test('field Gateway.servers[].port.number: the Gateway port that it listens on', async (t) => {
  const site = await routeSite(t, [], bare)
  for (const [number, other] of [
    [80, 443],
    [443, 80],
  ] as const) {
    assert.deepEqual(await become(site, server({ port: { ...PLAIN, number } })), [])
    assert.match(await raw(site, number), /^HTTP\/1\.1 200 /)
    assert.equal(await raw(site, other), '', 'nobody speaks plain HTTP there')
  }
})

test('field Gateway.servers[].port.protocol: what is read from the connection', async (t) => {
  const tcp = virtualService('tcp', [HOST], [], { http: undefined, tcp: [{ route: to(B) }] })
  const site = await routeSite(t, [], { ...bare, manifests: [tcp] })
  assert.deepEqual(await become(site, server({})), [])
  assert.match(await raw(site, 80), /^HTTP\/1\.1 200 [\s\S]*<title>a<\/title>/)
  const [http] = await site.harness.lines(1)
  assert.deepEqual([http?.['method'], http?.['protocol']], ['GET', 'HTTP/1.1'])
  assert.deepEqual(await become(site, server({ port: { ...PLAIN, protocol: 'TCP' } })), [])
  assert.match(await raw(site, 80), /^HTTP\/1\.1 200 [\s\S]*<title>b<\/title>/)
  const [, bytes] = await site.harness.lines(2)
  assert.deepEqual([bytes?.['method'], bytes?.['protocol']], [null, null])
})

test('field Gateway.servers[].port.name: part of the names of listeners and tables', async (t) => {
  const site = await routeSite(t, [], bare)
  for (const name of ['http', 'http-egress']) {
    assert.deepEqual(await become(site, server({ port: { ...PLAIN, name } })), [])
    const { body } = await askControl(site.harness, 'admin', '/config_dump')
    assert.ok(body.includes(`"istio-system/egress/${name}"`), body.slice(0, 2000))
  }
})

test('field Gateway.servers[].name: for people; nothing changes with it', async (t) => {
  const site = await routeSite(t, [], bare)
  const seen: unknown[] = []
  for (const name of [undefined, 'one', 'two']) {
    assert.deepEqual(await become(site, server({ ...(name === undefined ? {} : { name }) })), [])
    const called = await site.call('/')
    seen.push([siteOf(called), called.line['route_name'], called.line['upstream_cluster']])
  }
  assert.deepEqual(seen, [seen[0], seen[0], seen[0]])
  assert.equal((seen[0] as unknown[])[0], 'a')
})

test('field Gateway.servers[].bind: refused where it is not what the bootstrap says', async (t) => {
  const site = await routeSite(t, [], bare)
  assert.deepEqual(await become(site, server({ bind: '127.0.0.1' })), [])
  assert.match((await become(site, server({ bind: '127.0.0.2' }))).join(), / SP4012 /)
})

test('field Gateway.servers[].defaultEndpoint: no effect, and told so', async (t) => {
  const site = await routeSite(t, [], bare)
  assert.deepEqual(await become(site, server({ defaultEndpoint: '127.0.0.1:1' })), [])
  assert.match((await told(site.harness, 'SP1034', 1)).join(), /defaultEndpoint/)
  assert.equal(siteOf(await site.call('/')), 'a')
})

test('field Gateway.servers[].port.targetPort: refused, as by Istio', async (t) => {
  const site = await routeSite(t, [], bare)
  assert.match((await become(site, server({ port: { ...PLAIN, targetPort: 1 } }))).join(), / SP4000 .*targetPort/)
})

test('field Gateway.servers[].tls.httpsRedirect: 301 to https for everything', async (t) => {
  const site = await routeSite(t, [], bare)
  for (const [tls, status, location] of [
    [{ httpsRedirect: true }, 301, `https://${HOST}/x?y=1`],
    [{ httpsRedirect: false }, 200, undefined],
  ] as const) {
    assert.deepEqual(await become(site, server({ tls })), [])
    const socket = await plainConnect(site.harness.gateway.port(80))
    const answer = await request(socket, HOST, { path: '/x?y=1' })
    socket.destroy()
    assert.deepEqual([answer.status, answer.headers.location], [status, location])
  }
})
