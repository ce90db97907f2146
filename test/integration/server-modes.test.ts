/** tls.mode of Gateway servers (contract §4): who is asked for a certificate, who gets an identity from it, and 421. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { gatewayYaml, policyYaml, siteYaml, type TestServer } from '../../src/testing/egress-resources.ts'
import { h2Over, h2Request } from '../../src/testing/h2-client.ts'
import { type Harness, startHarness } from '../../src/testing/harness.ts'
import { type MeshConnectOptions, meshConnect, rawExchange, request } from '../../src/testing/mesh-client.ts'
import { startEchoOrigin } from '../../src/testing/origin.ts'
import { createTestPki, type TestPki } from '../../src/testing/pki.ts'

const HOST = 'site.example'
const OTHER = 'other.example'
const GET = `GET / HTTP/1.1\r\nhost: ${HOST}\r\n\r\n`

type World = {
  readonly harness: Harness
  readonly pki: TestPki
  readonly partner: TestPki
  readonly connect: (options: Partial<MeshConnectOptions>) => ReturnType<typeof meshConnect>
}

type Ca = 'mesh' | 'partner' | 'both' | null

/** One server on port 443 for HOST and OTHER, in the given mode. */
async function start(
  t: TestContext,
  mode: string,
  ca: Ca,
  more: (pki: TestPki, partner: TestPki) => Promise<object> = async () => ({}),
): Promise<World> {
  const pki = await createTestPki()
  const partner = await createTestPki()
  const dir = mkdtempSync(join(tmpdir(), 'sallyport-modes-'))
  const site = (await pki.serverCert(HOST)).writeTo(dir)
  const caFile = join(dir, 'client-ca.pem')
  if (ca !== null) writeFileSync(caFile, { mesh: pki.root, partner: partner.root, both: partner.root + pki.root }[ca])
  const tls = {
    mode,
    ...(mode === 'ISTIO_MUTUAL' ? {} : { serverCertificate: site.certificateChain, privateKey: site.privateKey }),
    ...(ca === null ? {} : { caCertificates: caFile }),
    ...(await more(pki, partner)),
  }
  const server: TestServer = { port: 443, name: 'tls', protocol: 'HTTPS', hosts: [HOST, OTHER], tls }
  const origin = await startEchoOrigin()
  const harness = await startHarness({
    pki,
    resources: {
      'all.yaml': [gatewayYaml([server]), siteYaml(HOST, origin.port), siteYaml(OTHER, origin.port)].join('---\n'),
    },
  })
  t.after(async () => {
    await harness.gateway.destroy()
    await origin.close()
    rmSync(dir, { recursive: true })
  })
  const connect = async (options: Partial<MeshConnectOptions>) =>
    meshConnect({
      port: harness.gateway.port(443),
      svid: null,
      ca: pki.root,
      servername: HOST,
      alpn: ['http/1.1'],
      ...options,
    })
  return { harness, pki, partner, connect }
}

/** Nothing is answered and the connection ends. */
async function refused(connecting: ReturnType<typeof meshConnect>): Promise<void> {
  assert.equal(await rawExchange(await connecting, GET), '')
}

const principals = (harness: Harness) =>
  harness.change({ 'policy.yaml': policyYaml('known', 'ALLOW', [{ from: [{ source: { principals: ['*'] } }] }]) })

test('SIMPLE: no certificate is asked for, a sent one gives no identity, SNI and Host must agree', async (t) => {
  const { harness, pki, connect } = await start(t, 'SIMPLE', null)
  const socket = await connect({ svid: await pki.svid('apps/sleep') })
  for (const host of [HOST, 'SITE.example', 'site.example.', `${HOST}:443`])
    assert.equal((await request(socket, host)).status, 200, host)
  const misdirected = await request(socket, OTHER)
  assert.deepEqual(
    [misdirected.status, misdirected.body, misdirected.headers['x-sallyport-reason']],
    [421, '', 'misdirected'],
  )
  socket.destroy()
  const session = h2Over(await connect({ alpn: ['h2'] }))
  assert.equal((await h2Request(session, OTHER)).status, 421)
  assert.equal((await h2Request(session, HOST)).status, 200)
  session.close()
  assert.ok((await principals(harness)).ok)
  const anonymous = await connect({ svid: await pki.svid('apps/sleep') })
  assert.equal((await request(anonymous, HOST)).status, 403)
  anonymous.destroy()
  const lines = await harness.lines(8)
  for (const line of lines)
    assert.deepEqual([line['downstream_peer_uri_san'], line['requested_server_name']], [null, HOST])
  assert.deepEqual(
    [lines[4]?.['response_code'], lines[4]?.['reason'], lines[4]?.['authz_decision']],
    [421, 'misdirected', 'none'],
  )
  await harness.stop(8)
})

test('ISTIO_MUTUAL: SNI selects the server and is never compared with Host', async (t) => {
  const { harness, pki, connect } = await start(t, 'ISTIO_MUTUAL', null)
  const socket = await connect({ svid: await pki.svid('apps/sleep') })
  assert.deepEqual([(await request(socket, HOST)).status, (await request(socket, OTHER)).status], [200, 200])
  socket.destroy()
  await harness.stop(2)
})

test('MUTUAL with a CA of its own: a verified caller, but no identity from a CA that is not of the mesh', async (t) => {
  const { harness, pki, partner, connect } = await start(t, 'MUTUAL', 'partner')
  const claims = await connect({ svid: await partner.svid('istio-system/admin') })
  assert.equal((await request(claims, HOST)).status, 200)
  const nameless = await connect({ svid: await partner.leaf({ dns: ['partner.example'] }) })
  assert.equal((await request(nameless, HOST)).status, 200)
  await refused(connect({}))
  await refused(connect({ svid: await pki.svid('apps/sleep') }))
  await refused(
    connect({
      svid: await partner.leaf({ uris: ['spiffe://cluster.local/ns/a/sa/b', 'spiffe://cluster.local/ns/a/sa/c'] }),
    }),
  )
  assert.ok((await principals(harness)).ok)
  assert.equal((await request(claims, HOST)).status, 403, 'its URI SAN is not an identity')
  assert.equal((await request(nameless, HOST)).status, 403)
  // A refusal by name takes the claim at its word: an unproven name may lose access by it, never gain any.
  const admin = 'cluster.local/ns/istio-system/sa/admin'
  const refusals = policyYaml('known', 'ALLOW', [{ from: [{ source: { notPrincipals: [admin] } }] }])
  assert.ok((await harness.change({ 'policy.yaml': refusals })).ok)
  assert.deepEqual([(await request(claims, HOST)).status, (await request(nameless, HOST)).status], [403, 200])
  assert.ok(
    (
      await harness.change({
        'policy.yaml': policyYaml('known', 'DENY', [{ from: [{ source: { principals: [admin] } }] }]),
      })
    ).ok,
  )
  assert.deepEqual([(await request(claims, HOST)).status, (await request(nameless, HOST)).status], [403, 200])
  claims.destroy()
  nameless.destroy()
  const lines = await harness.lines(11)
  const denied = 'rbac_denied'
  assert.deepEqual(
    lines.map((line) => line['reason']),
    [
      null,
      null,
      'no_client_certificate',
      'untrusted_certificate',
      'invalid_svid',
      denied,
      denied,
      denied,
      null,
      denied,
      null,
    ],
  )
  assert.deepEqual(
    lines.map((line) => line['source_namespace']),
    lines.map(() => null),
  )
  await harness.stop(11)
})

test('MUTUAL whose CA file holds the mesh root too: the mesh vouches for its own, and only for them', async (t) => {
  const { harness, pki, partner, connect } = await start(t, 'MUTUAL', 'both')
  assert.ok((await principals(harness)).ok)
  for (const [svid, status] of [
    [await pki.svid('apps/sleep'), 200],
    [await partner.svid('apps/sleep'), 403],
  ] as const) {
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
      const socket = await connect({ svid, maxVersion })
      assert.equal((await request(socket, HOST)).status, status)
      socket.destroy()
    }
  }
  const lines = await harness.lines(4)
  assert.deepEqual(
    lines.map((line) => line['source_namespace']),
    ['apps', 'apps', null, null],
  )
  await harness.stop(4)
})

test('MUTUAL with subjectAltNames, and with pins: only the certificate named is let in', async (t) => {
  const named = await start(t, 'MUTUAL', 'mesh', async () => ({
    subjectAltNames: ['spiffe://cluster.local/ns/apps/sa/sleep'],
  }))
  const good = await named.connect({ svid: await named.pki.svid('apps/sleep') })
  assert.equal((await request(good, HOST)).status, 200)
  good.destroy()
  await refused(named.connect({ svid: await named.pki.svid('apps/sleep-admin') }))
  const lines = await named.harness.lines(2)
  assert.equal(lines[1]?.['reason'], 'untrusted_certificate')
  const stats = named.harness.gateway.metrics.stats({ filter: null, format: 'text', usedOnly: true })
  assert.match(stats, /^listener\.127\.0\.0\.1_\d+\.ssl\.fail_verify_san: 1$/m)
  await named.harness.stop(2)

  const pinned = await start(t, 'MUTUAL', 'mesh', async () => ({ verifyCertificateHash: ['00'.repeat(32)] }))
  await refused(pinned.connect({ svid: await pinned.pki.svid('apps/sleep') }))
  const [line] = await pinned.harness.lines(1)
  assert.equal(line?.['reason'], 'untrusted_certificate')
  await pinned.harness.stop(1)
})

test('OPTIONAL_MUTUAL: without a certificate a caller without identity; with one it has to be good', async (t) => {
  const { harness, pki, partner, connect } = await start(t, 'OPTIONAL_MUTUAL', 'mesh')
  for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
    const anonymous = await connect({ maxVersion })
    assert.equal((await request(anonymous, HOST)).status, 200)
    anonymous.destroy()
    const known = await connect({ maxVersion, svid: await pki.svid('apps/sleep') })
    assert.equal((await request(known, HOST)).status, 200)
    known.destroy()
    const bad = connect({ maxVersion, svid: await partner.svid('apps/sleep') })
    const answer = await bad.then(
      async (socket) => rawExchange(socket, GET),
      () => '',
    )
    assert.equal(answer, '')
  }
  assert.ok((await principals(harness)).ok)
  const anonymous = await connect({})
  assert.equal((await request(anonymous, HOST)).status, 403)
  anonymous.destroy()
  const lines = await harness.lines(7)
  const each = [
    [200, null, null],
    [200, 'apps', null],
    [0, null, 'untrusted_certificate'],
  ]
  assert.deepEqual(
    lines.map((line) => [line['response_code'], line['source_namespace'], line['reason']]),
    [...each, ...each, [403, null, 'rbac_denied']],
  )
  await harness.stop(7)
})
