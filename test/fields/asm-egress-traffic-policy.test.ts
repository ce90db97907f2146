/** Every field of ASMEgressTrafficPolicy (behaviour §6.1): who gets where through which gateway port, and how. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, type TestContext, test } from 'node:test'
import { type DnsServer, startDnsServer } from '../../src/testing/dns-server.ts'
import type { Harness, LogLine } from '../../src/testing/harness.ts'
import { meshConnect, request } from '../../src/testing/mesh-client.ts'
import { type EchoOrigin, startEchoOrigin } from '../../src/testing/origin.ts'
import { createTestPki, type TestPki } from '../../src/testing/pki.ts'
import { destinationRule, documents, type Manifest } from '../integration/manifests.ts'
import { started } from '../integration/started.ts'

const HOST = 'site.example'
const OTHER = 'other.example'

let pki: TestPki
let dns: DnsServer
let plain: EchoOrigin
let secure: EchoOrigin

before(async () => {
  pki = await createTestPki()
  dns = await startDnsServer(({ type }) => ({ kind: 'answer', addresses: type === 'A' ? ['127.0.0.1'] : [], ttl: 60 }))
  const { cert, key } = await pki.serverCert(HOST)
  plain = await startEchoOrigin({ name: 'plain' })
  secure = await startEchoOrigin({ name: 'secure', tls: { cert, key } })
})

after(async () => {
  await dns.close()
  await plain.close()
  await secure.close()
})

type Asked = { readonly caller?: string; readonly host?: string; readonly port?: number }
type World = {
  readonly harness: Harness
  readonly become: (policy: Manifest, ...more: readonly Manifest[]) => Promise<void>
  /** One request through Gateway port 80 unless told otherwise: who answered, or the status; and its line. */
  readonly ask: (asked?: Asked) => Promise<{ readonly outcome: string | number; readonly line: LogLine }>
}

async function world(t: TestContext): Promise<World> {
  const spec = { ports: { 80: 0, 81: 0 }, dns: { servers: [dns.address] }, addressGuard: { allow: ['127.0.0.0/8'] } }
  const harness = await started(t, { pki, spec, resources: { 'none.yaml': '# nothing yet\n' } })
  let sent = 0
  return {
    harness,
    become: async (...manifests) => {
      assert.deepEqual((await harness.change({ 'all.yaml': documents(...manifests) })).errors, [])
    },
    ask: async ({ caller = 'apps/sleep', host = HOST, port = 80 } = {}) => {
      const svid = await pki.svid(caller)
      const socket = await meshConnect({ port: harness.gateway.port(port), svid, ca: pki.root })
      const { status, body } = await request(socket, host)
      socket.destroy()
      sent += 1
      const line = (await harness.lines(sent))[sent - 1] ?? {}
      return { outcome: /<title>(\w+)<\/title>/.exec(body)?.[1] ?? status, line }
    },
  }
}

type Parts = {
  readonly by?: object
  readonly rule?: object
  readonly from?: object
  readonly to?: object
  readonly port?: object
}

/** HOST for everybody of namespace `apps`, through Gateway port 80, to the plain site; with some of it otherwise. */
function policy({ by = {}, rule = {}, from = {}, to = {}, port = {} }: Parts = {}): Manifest {
  return {
    apiVersion: 'istio.alibabacloud.com/v1',
    kind: 'ASMEgressTrafficPolicy',
    metadata: { name: 'egress', namespace: 'istio-egress' },
    spec: {
      byEgressGateway: { name: 'istio-egressgateway', port: 80, ...by },
      egressRules: [
        {
          from: [{ namespace: 'apps', ...from }],
          to: [{ hosts: [HOST], port: { number: plain.port, protocol: 'HTTP', ...port }, ...to }],
          ...rule,
        },
      ],
    },
  }
}

const P = 'ASMEgressTrafficPolicy'
const TO = `${P}.egressRules[].to[]`
const FROM = `${P}.egressRules[].from[]`

test(`field ${P}.byEgressGateway.name: policies of other gateways are not ours`, async (t) => {
  const { become, ask } = await world(t)
  for (const [name, outcome] of [
    ['istio-egressgateway', 'plain'],
    ['egressgateway', 'plain'],
    ['egressgateway-2', 502],
  ] as const) {
    await become(policy({ by: { name } }))
    assert.equal((await ask()).outcome, outcome, name)
  }
})

test(`field ${P}.byEgressGateway.port, ${TO}.byEgressGateway.port: the Gateway port; the destination’s own first`, async (t) => {
  const { become, ask } = await world(t)
  await become(policy({ by: { port: 80 } }))
  assert.deepEqual([(await ask()).outcome, (await ask({ port: 81 })).outcome], ['plain', 502])
  await become(policy({ by: { port: 81 } }))
  assert.deepEqual([(await ask()).outcome, (await ask({ port: 81 })).outcome], [502, 'plain'])
  await become(policy({ by: { port: 80 }, to: { byEgressGateway: { port: 81 } } }))
  assert.deepEqual([(await ask()).outcome, (await ask({ port: 81 })).outcome], [502, 'plain'])
})

test(`field ${TO}.byEgressGateway.name: a destination of another gateway is not ours`, async (t) => {
  const { become, ask } = await world(t)
  await become(policy({ to: { byEgressGateway: { name: 'egressgateway' } } }))
  assert.equal((await ask()).outcome, 'plain')
  await become(policy({ to: { byEgressGateway: { name: 'egressgateway-2' } } }))
  assert.equal((await ask()).outcome, 502)
})

test(`field ${FROM}.namespace: callers of that namespace, and no others`, async (t) => {
  const { become, ask } = await world(t)
  await become(policy())
  assert.deepEqual([(await ask()).outcome, (await ask({ caller: 'jobs/sleep' })).outcome], ['plain', 502])
  await become(policy({ from: { namespace: 'jobs' } }))
  const { outcome, line } = await ask()
  assert.deepEqual([outcome, line['reason']], [502, 'caller_not_listed'])
  assert.equal((await ask({ caller: 'jobs/sleep' })).outcome, 'plain')
})

test(`field ${FROM}.workloadSelector: accounts whose pods all have the labels`, async (t) => {
  const { become, ask } = await world(t)
  const workload = (name: string, labels: object): Manifest => ({
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name, namespace: 'apps' },
    spec: { template: { metadata: { labels }, spec: { serviceAccountName: name } } },
  })
  const pods = [workload('sleep', { app: 'sleep', tier: 'a' }), workload('cron', { app: 'cron' })]
  const outcomes = async () => [(await ask()).outcome, (await ask({ caller: 'apps/cron' })).outcome]
  await become(policy({ from: { workloadSelector: { app: 'sleep' } } }), ...pods)
  assert.deepEqual(await outcomes(), ['plain', 502])
  await become(policy({ from: { workloadSelector: { app: 'cron' } } }), ...pods)
  assert.deepEqual(await outcomes(), [502, 'plain'])
  await become(policy({ from: { workloadSelector: { app: 'cron', tier: 'a' } } }), ...pods)
  assert.deepEqual(await outcomes(), [502, 502])
  // Nothing is known of the pods: nobody.
  await become(policy({ from: { workloadSelector: { app: 'sleep' } } }))
  assert.deepEqual(await outcomes(), [502, 502])
})

test(`field ${TO}.hosts: each of them, and no others`, async (t) => {
  const { become, ask } = await world(t)
  const outcomes = async () => [(await ask()).outcome, (await ask({ host: OTHER })).outcome]
  await become(policy())
  assert.deepEqual(await outcomes(), ['plain', 502])
  await become(policy({ to: { hosts: [HOST, OTHER] } }))
  assert.deepEqual(await outcomes(), ['plain', 'plain'])
  await become(policy({ to: { hosts: ['*.example'] } }))
  assert.deepEqual(await outcomes(), ['plain', 'plain'])
})

test(`field ${TO}.port.number, ${TO}.port.targetPort: the number names the service, the target is dialled`, async (t) => {
  const { become, ask } = await world(t)
  await become(policy())
  const named = await ask()
  assert.deepEqual([named.outcome, named.line['upstream_cluster']], ['plain', `outbound|${plain.port}||${HOST}`])
  await become(policy({ port: { number: 8000, targetPort: plain.port } }))
  const mapped = await ask()
  assert.deepEqual([mapped.outcome, mapped.line['upstream_cluster']], ['plain', `outbound|8000||${HOST}`])
})

test(`field ${TO}.port.protocol: requests, or the application’s own TLS`, async (t) => {
  const { become, ask } = await world(t)
  await become(policy({ port: { protocol: 'HTTP' } }))
  assert.equal((await ask()).outcome, 'plain')
  await become(policy({ port: { protocol: 'HTTPS' } }))
  const { outcome, line } = await ask()
  assert.deepEqual([outcome, line['reason']], [502, 'not_registered'])
})

test(`field ${TO}.httpsUpgrade.enabled, ${TO}.httpsUpgrade.port: TLS to that port, verified`, async (t) => {
  const { become, ask, harness } = await world(t)
  const caCertificates = pki.writeTo(join(harness.paths.dir, 'ca'))
  const level = { port: { number: secure.port }, tls: { mode: 'SIMPLE', caCertificates } }
  const trusts = destinationRule('site', HOST, { portLevelSettings: [level] })
  const upgraded = policy({ to: { httpsUpgrade: { enabled: true, port: secure.port } } })
  await become(upgraded, trusts)
  assert.equal((await ask()).outcome, 'secure')
  // By itself it trusts the system's CAs, which this one is not of.
  await become(upgraded)
  const { outcome, line } = await ask()
  assert.deepEqual([outcome, line['response_flags']], [503, 'UF,URX'])
  await become(policy({ to: { httpsUpgrade: { enabled: false, port: secure.port } } }), trusts)
  assert.equal((await ask()).outcome, 'plain')
})

test(`field ${TO}.name: what the log calls the route`, async (t) => {
  const { become, ask } = await world(t)
  for (const name of ['one', 'two']) {
    await become(policy({ to: { name } }))
    assert.equal((await ask()).line['route_name'], name)
  }
})

test(`field ${P}.egressRules[].name, ${TO}.port.name: for people; nothing changes with them`, async (t) => {
  const { become, ask } = await world(t)
  const seen: unknown[] = []
  for (const name of [undefined, 'one']) {
    await become(policy(name === undefined ? {} : { rule: { name }, port: { name } }))
    const { outcome, line } = await ask()
    seen.push([outcome, line['route_name'], line['upstream_cluster']])
  }
  assert.deepEqual(seen[0], seen[1])
  assert.equal((seen[0] as unknown[])[0], 'plain')
})
