/** AuthorizationPolicy on opaque bytes (behaviour §1.6): what is judged, what is lost, and that nothing is dialled when refused. */
import assert from 'node:assert/strict'
import type { Socket } from 'node:net'
import { after, before, test } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import type { Harness } from '../../src/testing/harness.ts'
import { plainConnect } from '../../src/testing/mesh-client.ts'
import type { RawOrigin } from '../../src/testing/origin.ts'
import { createTestPki, type TestPki } from '../../src/testing/pki.ts'
import { authorizationPolicy, documents } from './manifests.ts'
import { started } from './started.ts'
import {
  application,
  CNN,
  meshTunnel,
  OUTBOUND,
  PASS,
  PORTS,
  rawTunnel,
  startDatabase,
  startSite,
  tunnelManifests,
  watch,
} from './tunnel-world.ts'

let pki: TestPki
let site: RawOrigin
let database: RawOrigin
before(async () => {
  pki = await createTestPki()
  site = await startSite(pki, CNN, ({ socket }) => socket.once('data', () => socket.end('answer')))
  database = await startDatabase(({ socket }) => socket.once('data', () => socket.end('answer')))
})
after(async () => {
  await site.close()
  await database.close()
})

/** The callers of every test, in the order of the columns below. */
const CALLERS = {
  'sleep, TLS in mTLS': async (harness: Harness) => application(harness, await meshTunnel(harness)),
  'other, TLS in mTLS': async (harness: Harness) =>
    application(harness, await meshTunnel(harness, { identity: 'other/sleep' })),
  'sleep, TLS in mTLS, named outside': async (harness: Harness) =>
    application(harness, await meshTunnel(harness, { servername: CNN })),
  'sleep, bytes in mTLS': (harness: Harness) => meshTunnel(harness),
  passthrough: async (harness: Harness) => application(harness, await plainConnect(harness.gateway.port(PASS))),
  plaintext: (harness: Harness) => rawTunnel(harness),
} as const satisfies Record<string, (harness: Harness) => Promise<Socket>>

const ALL = '++++++'
const NONE = '------'

/** TABLE: policies → which callers get through (+) and which do not (-). */
const CASES: readonly (readonly [name: string, action: 'ALLOW' | 'DENY', rule: object, through: string])[] = [
  ['a DENY of only HTTP fields denies every tunnel', 'DENY', { to: [{ operation: { methods: ['POST'] } }] }, NONE],
  [
    'a DENY loses its HTTP fields and grows to the namespace; passed-through TLS shows none',
    'DENY',
    { from: [{ source: { namespaces: ['default'] } }], to: [{ operation: { methods: ['POST'], hosts: [CNN] } }] },
    '-+--++',
  ],
  ['an ALLOW with only HTTP fields permits nothing', 'ALLOW', { to: [{ operation: { hosts: [CNN] } }] }, NONE],
  [
    'an ALLOW rule with one HTTP field is dropped whole',
    'ALLOW',
    { from: [{ source: { namespaces: ['default'] } }], to: [{ operation: { methods: ['GET'] } }] },
    NONE,
  ],
  [
    'principals are those of the outer mTLS',
    'ALLOW',
    { from: [{ source: { principals: ['cluster.local/ns/default/sa/sleep'] } }] },
    '+-++--',
  ],
  [
    'notNamespaces holds for callers without identity',
    'DENY',
    { from: [{ source: { notNamespaces: ['default'] } }] },
    '+-++--',
  ],
  [
    'connection.sni is the inner name, else the only one',
    'ALLOW',
    { when: [{ key: 'connection.sni', values: [CNN] }] },
    '+++-+-',
  ],
  [
    'a DENY of an SNI tests the outer name as well',
    'DENY',
    { when: [{ key: 'connection.sni', values: [OUTBOUND] }] },
    '--+-++',
  ],
  ['ipBlocks', 'DENY', { from: [{ source: { ipBlocks: ['127.0.0.0/8'] } }] }, NONE],
  ['another network’s ipBlocks', 'DENY', { from: [{ source: { ipBlocks: ['10.0.0.0/8'] } }] }, ALL],
]

test('which tunnels a policy closes', async (t) => {
  const resources = { 'all.yaml': documents(...tunnelManifests(site.port, database.port)) }
  const harness = await started(t, { pki, resources, spec: { ports: PORTS } })
  const dialled = () => site.connections.length + database.connections.length
  let lines = 0
  const through = async (): Promise<string> => {
    let marks = ''
    for (const [caller, connect] of Object.entries(CALLERS)) {
      const before = dialled()
      const open = await attempt(connect(harness))
      marks += open ? '+' : '-'
      lines += 1
      const line = (await harness.lines(lines))[lines - 1]
      assert.equal(dialled() - before, open ? 1 : 0, `${caller}: dialled`)
      assert.deepEqual([line?.['response_code'], line?.['response_flags']], [0, '-'], caller)
      assert.equal(line?.['reason'], open ? null : 'rbac_denied', caller)
      if (open) continue
      assert.deepEqual([line?.['upstream_host'], line?.['authz_decision'], line?.['bytes_sent']], [null, 'deny', 0])
      const id = typeof line?.['authz_policy'] === 'string' ? line['authz_policy'] : 'none'
      const details = `rbac_access_denied_matched_policy[${id}]`
      assert.equal(line?.['connection_termination_details'], details)
    }
    return marks
  }
  assert.equal(await through(), ALL, 'without a policy')
  for (const [name, action, rule, expected] of CASES) {
    await t.test(name, async () => {
      const { ok, errors } = await harness.change({
        'policy.yaml': documents(authorizationPolicy('p', action, [rule])),
      })
      assert.ok(ok, errors.join('\n'))
      assert.equal(await through(), expected)
    })
  }
  await t.test('ports are the ports really bound', async () => {
    const rule = { to: [{ operation: { ports: [String(harness.gateway.port(PASS))] } }] }
    const { ok } = await harness.change({ 'policy.yaml': documents(authorizationPolicy('p', 'DENY', [rule])) })
    assert.ok(ok)
    assert.equal(await through(), '++++-+')
  })
  await harness.stop(lines)
})

test('a rule that widens on tunnels, or can never match there, is told at load with its listener', async (t) => {
  const base = documents(...tunnelManifests(site.port, database.port))
  const wide = { from: [{ source: { namespaces: ['default'] } }], to: [{ operation: { methods: ['POST'] } }] }
  const harness = await started(t, {
    pki,
    spec: { ports: PORTS },
    resources: {
      'all.yaml': base,
      'deny.yaml': documents(authorizationPolicy('deny', 'DENY', [wide])),
      'allow.yaml': documents(authorizationPolicy('allow', 'ALLOW', [wide])),
    },
  })
  for (const file of ['deny.yaml', 'allow.yaml']) {
    const warning = await eventually(`a warning about ${file}`, () =>
      harness
        .log()
        .map((line) => String(line['message']))
        .find((each) => each.includes(`${file}:`) && each.includes('tunnels')),
    )
    assert.match(warning, /:\d+:\d+ warning SP\d+ .*443.*8443.*9000/)
  }
  await harness.stop(0)
})

/** True when the far end has answered. */
async function attempt(connecting: Promise<Socket>): Promise<boolean> {
  let socket: Socket
  try {
    socket = await connecting
  } catch (error) {
    assert.equal((error as NodeJS.ErrnoException).code, 'ECONNRESET')
    return false
  }
  socket.allowHalfOpen = false
  const seen = watch(socket)
  socket.write('question')
  await seen.closed
  assert.ok(seen.text === 'answer' || seen.text === '', seen.text)
  return seen.text === 'answer'
}
