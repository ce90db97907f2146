/**
 * Every certificate that is not a caller's (contract §4 Identity, threats 27–30): closed before a byte is answered, one
 * line with code 0 and the reason, counted by reason and in Envoy's ssl counters, over TLS 1.2 and 1.3.
 */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { gatewayYaml, siteYaml } from '../../src/testing/egress-resources.ts'
import { startHarness } from '../../src/testing/harness.ts'
import { type MeshConnectOptions, meshConnect, rawExchange, request } from '../../src/testing/mesh-client.ts'
import { startEchoOrigin } from '../../src/testing/origin.ts'
import { createTestPki, type TestCertificate, type TestPki } from '../../src/testing/pki.ts'

const HOST = 'site.example'
const DAY = 24 * 3_600_000
const SLEEP = 'spiffe://cluster.local/ns/apps/sa/sleep'

/** What comes back for these bytes. With TLS 1.2 the caller may see the end before its handshake is done. */
async function answerTo(options: MeshConnectOptions, bytes: string): Promise<string> {
  try {
    return await rawExchange(await meshConnect(options), bytes)
  } catch (error) {
    assert.equal((error as NodeJS.ErrnoException).code, 'ECONNRESET')
    return ''
  }
}

type Case = readonly [what: string, certificate: TestCertificate | null, reason: string, counter: 'no_cert' | 'error']
type Cases = (pki: TestPki) => Promise<readonly Case[]>

/** Certificates no CA should have given out, or not for this, or not any more. TABLE, as those below. */
const badCertificates: Cases = async (pki) => {
  const now = Date.now()
  const stranger = await createTestPki()
  return [
    ['no certificate', null, 'no_client_certificate', 'no_cert'],
    [
      'expired',
      await pki.svid('apps/sleep', { notBefore: now - 2 * DAY, notAfter: now - DAY }),
      'expired_certificate',
      'error',
    ],
    [
      'not yet valid',
      await pki.svid('apps/sleep', { notBefore: now + DAY, notAfter: now + 2 * DAY }),
      'expired_certificate',
      'error',
    ],
    ['another CA', await stranger.svid('apps/sleep'), 'untrusted_certificate', 'error'],
    ['CA certificate as leaf', await pki.leaf({ uris: [SLEEP], ca: true }), 'invalid_svid', 'error'],
    [
      'may sign certificates',
      await pki.leaf({ uris: [SLEEP], keyUsage: ['digitalSignature', 'keyCertSign'] }),
      'invalid_svid',
      'error',
    ],
    ['for servers only', await pki.leaf({ uris: [SLEEP], extendedKeyUsage: ['serverAuth'] }), 'invalid_svid', 'error'],
  ]
}

/** URIs that are no SPIFFE ID of one workload. */
const badUris: Cases = async (pki) => {
  const rows: readonly (readonly [what: string, ...uris: string[]])[] = [
    ['no SAN'],
    ['two URI SANs', SLEEP, 'spiffe://cluster.local/ns/apps/sa/admin'],
    ['two equal URI SANs', SLEEP, SLEEP],
    ['one SPIFFE and one web URI', SLEEP, 'https://site.example/'],
    ['web URI only', 'https://cluster.local/ns/apps/sa/sleep'],
    ['trust domain only', 'spiffe://cluster.local'],
    ['empty path', 'spiffe://cluster.local/'],
    ['trailing slash', `${SLEEP}/`],
    ['empty segment', 'spiffe://cluster.local//ns/apps/sa/sleep'],
    ['dot segment', 'spiffe://cluster.local/ns/apps/sa/x/../sleep'],
    ['port', 'spiffe://cluster.local:80/ns/apps/sa/sleep'],
    ['user', 'spiffe://me@cluster.local/ns/apps/sa/sleep'],
    ['query', `${SLEEP}?a=b`],
    ['fragment', `${SLEEP}#a`],
    ['percent encoding', 'spiffe://cluster.local/ns/apps%2fsa/sleep'],
    ['longer than 2048 bytes', `${SLEEP}/${'x'.repeat(2048)}`],
  ]
  const cases = rows.map(
    async ([what, ...uris]): Promise<Case> => [
      what,
      await pki.leaf(uris.length === 0 ? { commonName: 'sleep' } : { uris }),
      'invalid_svid',
      'error',
    ],
  )
  const secondSan = await pki.leaf({ uris: [SLEEP], secondSan: ['spiffe://cluster.local/ns/apps/sa/admin'] })
  // OpenSSL refuses the whole certificate.
  return [...(await Promise.all(cases)), ['a second SAN extension', secondSan, 'untrusted_certificate', 'error']]
}

/** Identities dressed up as something else. */
const disguises: Cases = async (pki) => [
  ['common name that looks like an identity', await pki.leaf({ commonName: SLEEP }), 'invalid_svid', 'error'],
  ['DNS name that looks like an identity', await pki.leaf({ dns: [SLEEP] }), 'invalid_svid', 'error'],
  ['DNS name with a URI inside its text', await pki.leaf({ dns: [`x, URI:${SLEEP}`] }), 'invalid_svid', 'error'],
]

const otherTrustDomains: Cases = async (pki) => {
  const domains = {
    'other trust domain': 'other.domain',
    'trust domain with ours as prefix': 'cluster.local.evil',
    'trust domain with ours as suffix': 'evil.cluster.local',
    'trust domain that ours begins with': 'cluster.loca',
  }
  const cases = Object.entries(domains).map(
    async ([what, domain]): Promise<Case> => [
      what,
      await pki.leaf({ uris: [`spiffe://${domain}/ns/apps/sa/sleep`] }),
      'foreign_trust_domain',
      'error',
    ],
  )
  return Promise.all(cases)
}

const versions = ['TLSv1.2', 'TLSv1.3'] as const

/** Each over both versions of TLS and HTTP: refused by name, never answered, one line, counted. */
async function refuses(t: TestContext, make: Cases): Promise<void> {
  const pki = await createTestPki()
  const cases = await make(pki)
  const origin = await startEchoOrigin()
  const harness = await startHarness({
    pki,
    resources: { 'all.yaml': `${gatewayYaml()}---\n${siteYaml(HOST, origin.port)}` },
  })
  t.after(async () => {
    await harness.gateway.destroy()
    await origin.close()
  })
  const port = harness.gateway.port(80)
  for (const maxVersion of versions) {
    for (const [what, svid] of cases) {
      for (const alpn of [
        ['istio-http/1.1', 'istio', 'http/1.1'],
        ['istio-h2', 'istio', 'h2'],
      ] as const) {
        const bytes =
          alpn[2] === 'h2'
            ? 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0'
            : `GET / HTTP/1.1\r\nhost: ${HOST}\r\n\r\n`
        assert.equal(await answerTo({ port, svid, ca: pki.root, maxVersion, alpn }, bytes), '', what)
      }
    }
  }
  const count = cases.length * versions.length * 2
  const lines = await harness.lines(count)
  for (const [i, line] of lines.entries()) {
    const [what, , reason] = cases[Math.floor(i / 2) % cases.length] as Case
    assert.deepEqual(
      [
        'reason',
        'response_code',
        'method',
        'downstream_peer_uri_san',
        'source_namespace',
        'upstream_host',
        'authz_decision',
      ].map((name) => line[name]),
      [reason, 0, null, null, null, null, 'none'],
      what,
    )
    assert.match(String(line['downstream_remote_address']), /^127\.0\.0\.1:\d+$/)
    assert.equal(typeof line['connection_termination_details'], 'string')
  }
  assert.equal(origin.requests.length, 0)

  // A good certificate is served beside them, so the refusals above are about the certificates.
  const good = await meshConnect({ port, svid: await pki.svid('apps/sleep'), ca: pki.root })
  assert.equal((await request(good, HOST)).status, 200)
  good.destroy()

  const metrics = await harness.gateway.metrics.prometheus()
  const times = (test: (row: Case) => boolean) => cases.filter(test).length * versions.length * 2
  for (const reason of new Set(cases.map(([, , each]) => each))) {
    const expected = `sallyport_refused_connections_total{reason="${reason}"} ${times((row) => row[2] === reason)}`
    assert.ok(metrics.split('\n').includes(expected), expected)
  }
  const stats = harness.gateway.metrics.stats({ filter: null, format: 'text', usedOnly: false })
  const listener = `listener.127.0.0.1_${port}.ssl`
  for (const expected of [
    `${listener}.fail_verify_no_cert: ${times((row) => row[3] === 'no_cert')}`,
    `${listener}.fail_verify_error: ${times((row) => row[3] === 'error')}`,
    `${listener}.fail_verify_san: 0`,
    `${listener}.handshake: ${count + 1}`,
  ])
    assert.ok(stats.split('\n').includes(expected), expected)
  await harness.stop(count + 1)
}

test('threat 27: no certificate, and those of no good: closed by name, never answered', (t) =>
  refuses(t, badCertificates))

test('threat 28: URI SANs that are not one SPIFFE ID: closed by name, never answered', (t) => refuses(t, badUris))

test('threat 29: identities in the wrong place: closed by name, never answered', (t) => refuses(t, disguises))

test('threat 30: trust domains that only look like ours: closed by name, never answered', (t) =>
  refuses(t, otherTrustDomains))

test('threat 30: an identity of any shape SPIFFE allows is a caller; policy sees the namespace whatever the case of scheme and trust domain', async (t) => {
  const pki = await createTestPki({ intermediate: true })
  const origin = await startEchoOrigin()
  const harness = await startHarness({
    pki,
    resources: { 'all.yaml': `${gatewayYaml()}---\n${siteYaml(HOST, origin.port)}` },
  })
  t.after(async () => {
    await harness.gateway.destroy()
    await origin.close()
  })
  const cases = [
    [SLEEP, 'apps'],
    ['SPIFFE://Cluster.LOCAL/ns/apps/sa/sleep', 'apps'],
    ['spiffe://cluster.local/vm/host-1', null],
    [`${SLEEP}/extra`, null],
  ] as const
  for (const [id] of cases) {
    const svid = await pki.leaf({ uris: [id], dns: ['sleep.apps.svc'], commonName: 'sleep' })
    const socket = await meshConnect({ port: harness.gateway.port(80), svid, ca: pki.root })
    assert.equal((await request(socket, HOST)).status, 200, id)
    socket.destroy()
  }
  const lines = await harness.lines(cases.length)
  assert.deepEqual(
    lines.map((line) => [line['downstream_peer_uri_san'], line['source_namespace']]),
    cases.map(([uri, namespace]) => [uri, namespace]),
  )
  await harness.stop(cases.length)
})
