/** What a caller says about itself, and how often (threats 26, 31, 32): repeated fields, look-alike identities, tickets taken elsewhere. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test as testOnce } from 'node:test'
import type { TLSSocket } from 'node:tls'
import { h2Over, h2Request } from '../../src/testing/h2-client.ts'
import { meshConnect, plainConnect, rawExchange, request } from '../../src/testing/mesh-client.ts'
import { startEchoOrigin } from '../../src/testing/origin.ts'
import { createTestPki } from '../../src/testing/pki.ts'
import { test } from '../integration/engines.ts'
import {
  authorizationPolicy,
  documents,
  gateway,
  ISTIO_MUTUAL,
  serviceEntry,
  to,
  virtualService,
} from '../integration/manifests.ts'
import { started, writeSecret } from '../integration/started.ts'

const HOST = 'site.example'
const GET = `GET / HTTP/1.1\r\nhost: ${HOST}\r\n\r\n`

const site = (port: number) => [serviceEntry('site', HOST, port), virtualService('site', [HOST], [{ route: to(HOST) }])]

/** TABLE: fields → is `evil` among the values, and are all of them `good`. */
const TENANTS: Readonly<Record<string, { readonly anyEvil: boolean; readonly allGood: boolean }>> = {
  'X-Tenant: good\r\n': { anyEvil: false, allGood: true },
  'X-Tenant: evil\r\n': { anyEvil: true, allGood: false },
  'X-Tenant: good\r\nX-Tenant: evil\r\n': { anyEvil: true, allGood: false },
  'X-Tenant: evil\r\nx-tenant: good\r\n': { anyEvil: true, allGood: false },
  'X-Tenant: a\r\nX-Tenant: b\r\nX-Tenant: evil\r\n': { anyEvil: true, allGood: false },
  'X-Tenant: good, evil\r\n': { anyEvil: true, allGood: false },
  'X-Tenant: evil,good\r\n': { anyEvil: true, allGood: false },
  'X-Tenant:\r\nX-Tenant: evil\r\n': { anyEvil: true, allGood: false },
  'X-Tenant: good\r\nX-Tenant: other\r\n': { anyEvil: false, allGood: false },
  'X-Tenant: good\r\nX-Tenant:\r\n': { anyEvil: false, allGood: false },
  '': { anyEvil: false, allGood: false },
}

test('threat 26: of a repeated field any value makes a DENY match, and all of them an ALLOW, in both versions of HTTP', async (t) => {
  const origin = await startEchoOrigin()
  t.after(() => origin.close())
  const harness = await started(t, { resources: { 'all.yaml': documents(gateway(), ...site(origin.port)) } })
  const when = (value: string) => [{ when: [{ key: 'request.headers[x-tenant]', values: [value] }] }]
  let [count, served] = [0, 0]
  for (const [action, value, permits] of [
    ['DENY', 'evil', ({ anyEvil }: (typeof TENANTS)[string]) => !anyEvil],
    ['DENY', 'ev*', ({ anyEvil }: (typeof TENANTS)[string]) => !anyEvil],
    ['ALLOW', 'good', ({ allGood }: (typeof TENANTS)[string]) => allGood],
  ] as const) {
    assert.ok((await harness.change({ 'p.yaml': documents(authorizationPolicy('p', action, when(value))) })).ok)
    for (const [fields, facts] of Object.entries(TENANTS)) {
      const expected = permits(facts) ? 200 : 403
      const what = `${action} ${value}: ${JSON.stringify(fields)}`
      const socket = await plainConnect(harness.gateway.port(80))
      const bytes = `GET / HTTP/1.1\r\nHost: ${HOST}\r\n${fields}\r\n`
      const answer = await rawExchange(socket, bytes, (text) => text.includes('\r\n\r\n'))
      socket.destroy()
      assert.match(answer, new RegExp(`^HTTP/1\\.1 ${expected} `), what)
      const session = h2Over(await plainConnect(harness.gateway.port(80)))
      const values = [...fields.matchAll(/: ?(.*)\r\n/g)].map(([, each]) => each ?? '')
      const headers = values.length === 0 ? {} : { 'x-tenant': values }
      assert.equal((await h2Request(session, HOST, { headers })).status, expected, `${what} over HTTP/2`)
      session.close()
      count += 2
      served += expected === 200 ? 2 : 0
    }
  }
  assert.equal(origin.requests.length, served)
  await harness.stop(count)
})

const SOURCES = [
  'apps/foo.bar',
  'apps/fooxbar',
  'apps/foo',
  'apps/foo-admin',
  'a.b/s',
  'axb/s',
  'a/s',
  'xfoo/s',
] as const

/** TABLE: the `from` of a rule → the callers (of SOURCES) that it means. */
const RULES: readonly (readonly [
  source: Readonly<Record<string, readonly string[]>>,
  ...callers: readonly string[],
])[] = [
  [{ principals: ['*/sa/foo.bar'] }, 'apps/foo.bar'],
  [{ principals: ['cluster.local/ns/a.b/sa/s'] }, 'a.b/s'],
  [{ principals: ['cluster.local/ns/a.b/*'] }, 'a.b/s'],
  [{ principals: ['*/sa/foo'] }, 'apps/foo'],
  [{ principals: ['cluster.local/ns/apps/sa/foo'] }, 'apps/foo'],
  [{ principals: ['cluster.local/ns/[a]xb/sa/s'] }],
  [{ principals: ['cluster.local/ns/a?b/sa/s'] }],
  [{ principals: ['.*'] }],
  [{ namespaces: ['a.b'] }, 'a.b/s'],
  [{ namespaces: ['a?b'] }],
  [{ namespaces: ['[a]'] }],
  [{ namespaces: ['a|apps'] }],
  [{ namespaces: ['a*b'] }, 'a.b/s', 'axb/s'],
  [{ serviceAccounts: ['apps/foo'] }, 'apps/foo'],
  [{ serviceAccounts: ['apps/foo.bar'] }, 'apps/foo.bar'],
  [{ serviceAccounts: ['a.b/s'] }, 'a.b/s'],
]

testOnce(
  'threat 31: dots, brackets and prefixes in rules about identities mean themselves, under ALLOW and DENY',
  async (t) => {
    const pki = await createTestPki()
    const origin = await startEchoOrigin()
    t.after(() => origin.close())
    const harness = await started(t, {
      pki,
      resources: { 'all.yaml': documents(gateway({ number: 443, tls: ISTIO_MUTUAL }), ...site(origin.port)) },
    })
    const sockets = new Map<string, TLSSocket>()
    for (const id of SOURCES)
      sockets.set(id, await meshConnect({ port: harness.gateway.port(443), svid: await pki.svid(id), ca: pki.root }))
    let count = 0
    for (const action of ['ALLOW', 'DENY'] as const) {
      for (const [source, ...callers] of RULES) {
        const policy = authorizationPolicy('p', action, [{ from: [{ source }] }])
        const { ok, errors } = await harness.change({ 'p.yaml': documents(policy) })
        if (!ok) {
          // What no identity can ever be is an error in a DENY, which would be inert.
          assert.deepEqual([action, callers], ['DENY', []], errors.join())
          continue
        }
        for (const [id, socket] of sockets) {
          const permitted = callers.includes(id) === (action === 'ALLOW')
          const { status } = await request(socket, HOST)
          assert.equal(status, permitted ? 200 : 403, `${action} ${JSON.stringify(source)}: ${id}`)
          count += 1
        }
      }
    }
    for (const socket of sockets.values()) socket.destroy()
    await harness.stop(count)
  },
)

testOnce(
  'threat 31: a star for a namespace does not reach over the slash into the service account, where it permits',
  async (t) => {
    const pki = await createTestPki()
    const origin = await startEchoOrigin()
    t.after(() => origin.close())
    const policy = authorizationPolicy('p', 'ALLOW', [{ from: [{ source: { namespaces: ['*-prod'] } }] }])
    const resources = {
      'all.yaml': documents(gateway({ number: 443, tls: ISTIO_MUTUAL }), ...site(origin.port), policy),
    }
    const harness = await started(t, { pki, resources })
    for (const [id, status] of [
      ['shop-prod/web', 200],
      ['shop/web-prod', 403],
      ['spiffe://cluster.local/ns/shop/sa/x-prod/y', 403],
      ['spiffe://cluster.local/ns/shop/sa/web/ns/x-prod/y', 403],
    ] as const) {
      const socket = await meshConnect({ port: harness.gateway.port(443), svid: await pki.svid(id), ca: pki.root })
      assert.equal((await request(socket, HOST)).status, status, id)
      socket.destroy()
    }
    await harness.stop(4)
  },
)

for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
  testOnce(
    `threat 32: ${maxVersion}: a ticket of one server is worth nothing on another, whatever SNI asks for it`,
    async (t) => {
      const [pki, partner] = await Promise.all([createTestPki(), createTestPki()])
      const origin = await startEchoOrigin()
      t.after(() => origin.close())
      const harness = await started(t, { pki, resources: {} })
      const server = await pki.serverCert('partner.example')
      // The partner's CA vouches for callers of `partner.example` alone.
      writeSecret(harness, 'partner', { ...server, ca: partner.root })
      const servers = gateway(
        { number: 443, name: 'mesh', tls: ISTIO_MUTUAL, hosts: ['mesh.example'] },
        {
          number: 443,
          name: 'partner',
          tls: { mode: 'MUTUAL', credentialName: 'partner' },
          hosts: ['partner.example'],
        },
      )
      const manifests = ['mesh', 'partner'].flatMap((name) => [
        serviceEntry(name, `${name}.example`, origin.port),
        virtualService(name, [`${name}.example`], [{ route: to(`${name}.example`) }]),
      ])
      const loaded = await harness.change({ 'all.yaml': documents(servers, ...manifests) })
      assert.deepEqual(loaded, { ok: true, errors: [] })
      const certificates = {
        mesh: await pki.svid('apps/sleep'),
        partner: await partner.leaf({ commonName: 'partner' }),
      }
      const common = { port: harness.gateway.port(443), ca: pki.root, maxVersion }
      for (const [own, other] of [
        ['mesh', 'partner'],
        ['partner', 'mesh'],
      ] as const) {
        const first = await meshConnect({ ...common, servername: `${own}.example`, svid: certificates[own] })
        const ticket = once(first, 'session') as Promise<[Buffer]>
        assert.equal((await request(first, `${own}.example`)).status, 200)
        const session = maxVersion === 'TLSv1.2' ? (first.getSession() as Buffer) : (await ticket)[0]
        first.destroy()
        // It is a good ticket: on its own server it stands for the certificate.
        const again = await meshConnect({ ...common, servername: `${own}.example`, svid: null, session })
        assert.equal(again.isSessionReused(), true)
        assert.equal((await request(again, `${own}.example`)).status, 200)
        again.destroy()
        for (const svid of [null, certificates[own]])
          assert.equal(await closedBy(meshConnect({ ...common, servername: `${other}.example`, svid, session })), '')
      }
      const refused = (await harness.lines(8)).filter((line) => line['response_code'] === 0)
      assert.deepEqual(
        refused.map((line) => [line['reason'], line['upstream_host']]),
        [
          ['no_client_certificate', null],
          ['untrusted_certificate', null],
          ['no_client_certificate', null],
          ['untrusted_certificate', null],
        ],
      )
      await harness.stop(8)
    },
  )
}

/** What comes back; with TLS 1.2 the caller may see the end before its handshake is done. */
async function closedBy(connecting: Promise<TLSSocket>): Promise<string> {
  try {
    const socket = await connecting
    assert.equal(socket.isSessionReused(), false)
    return await rawExchange(socket, GET)
  } catch (error) {
    assert.equal((error as NodeJS.ErrnoException).code, 'ECONNRESET')
    return ''
  }
}
