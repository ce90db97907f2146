/** The fields of AuthorizationPolicy and of extension providers that name and describe an external authorizer. */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { formatDiagnostic } from '../../src/config/diagnostics.ts'
import { loadConfiguration } from '../../src/config/load.ts'
import { startDnsServer } from '../../src/testing/dns-server.ts'
import { createTestPki } from '../../src/testing/pki.ts'
import {
  customPolicy,
  grpcProvider,
  httpProvider,
  startGrpcAuthorizer,
  startHttpAuthorizer,
} from '../integration/authorizers.ts'
import {
  destinationRule,
  documents,
  gateway,
  type Manifest,
  serviceEntry,
  to,
  virtualService,
} from '../integration/manifests.ts'
import { freePort } from '../integration/operator.ts'
import { startOutside, startSites } from './outside.ts'

const HOST = 'site.example'
const OPA = 'opa.policy.svc.cluster.local'

/** Routes to one site behind whatever else applies. */
async function site(t: TestContext): Promise<readonly Manifest[]> {
  const sites = await startSites(t, ['site'])
  return [serviceEntry('site', HOST, sites['site']?.port ?? 0), virtualService('site', [HOST], [{ route: to(HOST) }])]
}

const providers = (...list: readonly object[]) => ({ spec: { meshConfig: { extensionProviders: list } } })

test('field AuthorizationPolicy.action, AuthorizationPolicy.provider.name: CUSTOM asks the provider of that name', async (t) => {
  const one = await startHttpAuthorizer(t)
  const two = await startHttpAuthorizer(t)
  one.decide = () => ({ status: 403 })
  const routes = await site(t)
  const outside = await startOutside(
    t,
    [...routes, customPolicy([{}], 'one')],
    providers(httpProvider(one.port, {}, 'one'), httpProvider(two.port, {}, 'two')),
  )
  assert.equal((await outside.call(HOST)).line['reason'], 'ext_authz_denied')
  await outside.become([...routes, customPolicy([{}], 'two')])
  assert.equal((await outside.call(HOST)).site, 'site')
  await outside.become([...routes, customPolicy([{}], 'three')])
  assert.equal((await outside.call(HOST)).status, 403)
  const { errors } = await outside.harness.change({
    'all.yaml': documents(gateway(), ...routes, customPolicy([{}], 'one', 'a'), customPolicy([{}], 'two', 'b')),
  })
  assert.match(errors.join(), /all\.yaml:\d+:\d+ error SP8303 /)
  assert.deepEqual([one.checks.length, two.checks.length], [1, 1])
})

test('a service that a ServiceEntry describes is reached by its endpoints, for the gateway alone', async (t) => {
  const authorizer = await startHttpAuthorizer(t)
  const routes = await site(t)
  const entry = serviceEntry('opa', OPA, authorizer.port, { port: 9191, spec: { location: 'MESH_INTERNAL' } })
  const outside = await startOutside(
    t,
    [...routes, entry, customPolicy([{}])],
    providers({ name: 'opa', envoyExtAuthzHttp: { service: `policy/${OPA}`, port: 9191 } }),
  )
  assert.equal((await outside.call(HOST)).site, 'site')
  assert.equal(authorizer.checks[0]?.headers.host, HOST)
  assert.deepEqual(
    outside.harness.gateway.active.model.clusters
      .filter(({ own }) => own === true)
      .map(({ name, statName }) => [name, statName]),
    [[`own|9191||${OPA}`, `outbound|9191||${OPA}`]],
  )
})

test('a gRPC service that a ServiceEntry describes is asked by HTTP/2, at a metadata address never', async (t) => {
  const authorizer = await startGrpcAuthorizer(t)
  const routes = await site(t)
  const entry = serviceEntry('opa', OPA, authorizer.port, { port: 9191, protocol: 'GRPC' })
  const outside = await startOutside(
    t,
    [...routes, entry, customPolicy([{}])],
    providers({ name: 'opa', envoyExtAuthzGrpc: { service: OPA, port: 9191 } }),
  )
  assert.equal((await outside.call(HOST)).site, 'site')
  assert.equal(authorizer.checks.length, 1)
  await outside.become([
    ...routes,
    serviceEntry('opa', OPA, authorizer.port, { port: 9191, protocol: 'GRPC', address: '169.254.169.254' }),
    customPolicy([{}]),
  ])
  const { status, line } = await outside.call(HOST)
  assert.deepEqual([status, line['response_code_details']], [403, 'ext_authz_error'])
  assert.equal(authorizer.checks.length, 1)
})

test('a DestinationRule says how to speak to it: TLS, with the name verified', async (t) => {
  const pki = await createTestPki()
  const authorizer = await startHttpAuthorizer(t, await pki.serverCert(OPA))
  const routes = await site(t)
  const entry = serviceEntry('opa', OPA, authorizer.port, { port: 443, protocol: 'HTTPS' })
  const under = (sni: string) =>
    destinationRule('opa', OPA, {
      portLevelSettings: [{ port: { number: 443 }, tls: { mode: 'SIMPLE', sni, caCertificates: ca } }],
    })
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-opa-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  const ca = join(directory, 'ca.pem')
  writeFileSync(ca, pki.root)
  const outside = await startOutside(t, [...routes, entry, under(OPA), customPolicy([{}])], {
    pki,
    ...providers({ name: 'opa', envoyExtAuthzHttp: { service: OPA, port: 443 } }),
  })
  assert.equal((await outside.call(HOST)).site, 'site')
  await outside.become([...routes, entry, under('other.example'), customPolicy([{}])])
  assert.equal((await outside.call(HOST)).line['response_code_details'], 'ext_authz_error')
  assert.equal(authorizer.checks.length, 1)
})

test('a name of the inside is resolved for the gateway, not for its callers; a metadata address for nobody', async (t) => {
  const authorizer = await startHttpAuthorizer(t)
  const asked: string[] = []
  const dns = await startDnsServer(({ name }) => {
    asked.push(name)
    return { kind: 'answer', addresses: [name.startsWith('opa') ? '127.0.0.1' : '169.254.169.254'], ttl: 60 }
  })
  t.after(() => dns.close())
  const routes = await site(t)
  const entry = serviceEntry('opa', OPA, authorizer.port, { resolution: 'DNS' })
  const route = virtualService('opa', [OPA], [{ route: to(OPA) }])
  const provider = (name: string, service: string) => ({
    name,
    envoyExtAuthzHttp: { service, port: authorizer.port },
  })
  const outside = await startOutside(t, [...routes, entry, route, customPolicy([{}])], {
    spec: {
      dns: { servers: [dns.address] },
      meshConfig: { extensionProviders: [provider('opa', OPA), provider('stolen', 'metadata.policy.svc')] },
    },
  })
  assert.equal((await outside.call(HOST)).site, 'site')
  const led = await outside.call(OPA)
  assert.deepEqual([led.status, led.line['response_code_details']], [403, 'address_denied{loopback}'])
  assert.equal(authorizer.checks.length, 2)
  await outside.become([...routes, customPolicy([{}], 'stolen')])
  assert.equal((await outside.call(HOST)).line['response_code_details'], 'ext_authz_error')
  assert.ok(asked.includes('metadata.policy.svc'))
  assert.equal(authorizer.checks.length, 2)
})

test('callers cannot be led where the gateway itself may go', async (t) => {
  const authorizer = await startHttpAuthorizer(t)
  const routes = await site(t)
  // The same name for callers: by DNS, through the guard, and not by the authorizer's own cluster.
  const outside = await startOutside(
    t,
    [...routes, virtualService('opa', [OPA], [{ route: to('127.0.0.1', authorizer.port) }])],
    providers(httpProvider(authorizer.port)),
  )
  const { status, line } = await outside.call(OPA)
  assert.deepEqual([status, line['response_flags']], [503, 'NC'])
})

test('an authorizer that is the gateway itself is an error, not a loop', async (t) => {
  const port = await freePort()
  const outside = await startOutside(t, [...(await site(t)), customPolicy([{}])], {
    spec: { ports: { 80: port }, meshConfig: { extensionProviders: [grpcProvider(port)] } },
  })
  const { status, line } = await outside.call(HOST)
  assert.deepEqual([status, line['response_code_details']], [403, 'ext_authz_error'])
})

test('the example of docs/external-authorization.md loads, and says nothing', (t) => {
  const text = readFileSync(join(import.meta.dirname, '../../docs/external-authorization.md'), 'utf8')
  const [, bootstrap = '', policy = ''] = /```yaml\n([\s\S]*?)---\n([\s\S]*?)```/.exec(text) ?? []
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-docs-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  const head =
    'apiVersion: sallyport.dev/v1\nkind: EgressGateway\nmetadata: { name: g, namespace: istio-system, labels: { istio: egressgateway } }\n'
  writeFileSync(join(directory, 'gateway.yaml'), head + bootstrap.replace('spec:', 'spec:\n  resources: [ask.yaml]'))
  writeFileSync(join(directory, 'ask.yaml'), policy)
  const { model, diagnostics } = loadConfiguration(join(directory, 'gateway.yaml'), {})
  assert.deepEqual(diagnostics.map(formatDiagnostic), [])
  assert.equal(model?.authorizer?.provider?.type, 'envoyExtAuthzGrpc')
  assert.equal(model?.settings.mesh.extensionProviders.length, 2)
})
