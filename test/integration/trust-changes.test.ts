/**
 * Trust that changes under open connections and tickets (threat 32, contract §9): a CA that is removed takes its callers
 * with it on new, resumed and kept-alive connections; everybody else, and a CA that is only added, is not disturbed.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import type { TLSSocket } from 'node:tls'
import { gatewayYaml, policyYaml, siteYaml } from '../../src/testing/egress-resources.ts'
import { h2Over, h2Request } from '../../src/testing/h2-client.ts'
import { type Harness, startHarness } from '../../src/testing/harness.ts'
import { type MeshConnectOptions, meshConnect, rawExchange, request } from '../../src/testing/mesh-client.ts'
import { startEchoOrigin, startRawOrigin } from '../../src/testing/origin.ts'
import { createTestPki, type TestCertificate } from '../../src/testing/pki.ts'
import { test } from './engines.ts'

const HOST = 'site.example'
const GET = `GET / HTTP/1.1\r\nhost: ${HOST}\r\n\r\n`

type World = {
  readonly harness: Harness
  readonly home: TestCertificate
  readonly other: TestCertificate
  readonly connect: (svid: TestCertificate, more?: Partial<MeshConnectOptions>) => Promise<TLSSocket>
  /** Replaces the mesh trust bundle and reloads. */
  readonly trust: (which: 'home' | 'both') => Promise<void>
}

/** A gateway of the home CA; `other` is a caller of a second CA of the same trust domain. */
async function start(t: TestContext, bundle: 'home' | 'both'): Promise<World> {
  const pki = await createTestPki()
  const second = await createTestPki()
  const origin = await startEchoOrigin()
  const harness = await startHarness({
    pki,
    resources: { 'all.yaml': `${gatewayYaml()}---\n${siteYaml(HOST, origin.port)}` },
  })
  t.after(async () => {
    await harness.gateway.destroy()
    await origin.close()
  })
  const trust = async (which: 'home' | 'both') => {
    writeFileSync(join(harness.paths.identity, 'root-cert.pem'), which === 'home' ? pki.root : pki.root + second.root)
    const { ok, errors } = await harness.gateway.reload()
    assert.ok(ok, errors.join('\n'))
  }
  await trust(bundle)
  return {
    harness,
    home: await pki.svid('apps/home'),
    other: await second.svid('apps/other'),
    connect: async (svid, more = {}) => meshConnect({ port: harness.gateway.port(80), svid, ca: pki.root, ...more }),
    trust,
  }
}

/** A connection on which a request was served, and the ticket it left behind. */
async function served(connect: Promise<TLSSocket>): Promise<{ socket: TLSSocket; session: Buffer }> {
  const socket = await connect
  const ticket = once(socket, 'session') as Promise<[Buffer]>
  const answer = await request(socket, HOST)
  assert.equal(answer.status, 200)
  const [session] = socket.getProtocol() === 'TLSv1.2' ? [socket.getSession() as Buffer] : await ticket
  return { socket, session }
}

for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
  test(`threat 32: ${maxVersion}: a resumed session carries the identity, and policy judges it anew`, async (t) => {
    const { harness, home, connect } = await start(t, 'home')
    const { socket, session } = await served(connect(home, { maxVersion }))
    socket.destroy()
    const again = await connect(home, { maxVersion, session })
    assert.equal(again.isSessionReused(), true)
    assert.equal((await request(again, HOST)).status, 200)
    const deny = policyYaml('deny', 'DENY', [{ from: [{ source: { namespaces: ['apps'] } }] }])
    assert.ok((await harness.change({ 'deny.yaml': deny })).ok)
    assert.equal((await request(again, HOST)).status, 403)
    again.destroy()
    const third = await connect(home, { maxVersion, session })
    assert.equal(third.isSessionReused(), true)
    assert.equal((await request(third, HOST)).status, 403)
    third.destroy()
    const lines = await harness.lines(4)
    for (const line of lines) assert.equal(line['downstream_peer_uri_san'], 'spiffe://cluster.local/ns/apps/sa/home')
    await harness.stop(4)
  })

  test(`threat 32: ${maxVersion}: a removed CA takes its callers with it on every kind of connection`, async (t) => {
    const { harness, home, other, connect, trust } = await start(t, 'both')
    const stays = await served(connect(home, { maxVersion }))
    const goes = await served(connect(other, { maxVersion }))
    await trust('home')
    assert.equal((await request(stays.socket, HOST)).status, 200, 'the same connection of the CA that stays')
    assert.equal(await rawExchange(goes.socket, GET), '', 'kept-alive')
    assert.equal(await closedBy(connect(other, { maxVersion, session: goes.session })), '', 'resumed')
    assert.equal(await closedBy(connect(other, { maxVersion })), '', 'new')
    stays.socket.destroy()
    const lines = await harness.lines(6)
    const refused = lines.filter((line) => line['response_code'] === 0)
    assert.deepEqual(
      refused.map((line) => line['reason']),
      ['untrusted_certificate', 'untrusted_certificate', 'untrusted_certificate'],
    )
    const metrics = await harness.gateway.metrics.prometheus()
    assert.ok(metrics.split('\n').includes('sallyport_refused_connections_total{reason="untrusted_certificate"} 3'))
    await harness.stop(6)
  })
}

async function closedBy(connecting: Promise<TLSSocket>): Promise<string> {
  try {
    return await rawExchange(await connecting, GET)
  } catch (error) {
    assert.equal((error as NodeJS.ErrnoException).code, 'ECONNRESET')
    return ''
  }
}

test('threat 32: an HTTP/2 session of a removed CA is ended with its next stream; no stream is left waiting', async (t) => {
  const { harness, home, other, connect, trust } = await start(t, 'both')
  const alpn = ['istio-h2', 'istio', 'h2']
  const stays = h2Over(await connect(home, { alpn }))
  const socket = await connect(other, { alpn })
  const goes = h2Over(socket)
  assert.equal((await h2Request(stays, HOST)).status, 200)
  assert.equal((await h2Request(goes, HOST)).status, 200)
  await trust('home')
  const closed = once(socket, 'close')
  const answers = await Promise.all([h2Request(goes, HOST), h2Request(goes, HOST), h2Request(goes, HOST)])
  for (const { status, body } of answers) assert.deepEqual([status, body.length], [0, 0])
  await closed
  assert.equal((await h2Request(stays, HOST)).status, 200)
  stays.close()
  const lines = await harness.lines(4)
  const refused = lines.filter((line) => line['reason'] === 'untrusted_certificate')
  assert.equal(refused.length, 1)
  assert.equal(refused[0]?.['response_code'], 0)
  await harness.stop(4)
})

test('a request that is running when its caller loses trust is finished; the next one is refused', async (t) => {
  const { harness, other, connect, trust } = await start(t, 'both')
  const origin = await startRawOrigin()
  t.after(() => origin.close())
  assert.ok((await harness.change({ 'all.yaml': `${gatewayYaml()}---\n${siteYaml(HOST, origin.port)}` })).ok)
  const socket = await connect(other)
  const running = request(socket, HOST)
  const upstream = await origin.connection(0)
  await upstream.until((text) => text.endsWith('\r\n\r\n'))
  await trust('home')
  upstream.socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok')
  assert.deepEqual(await running.then(({ status, body }) => [status, body]), [200, 'ok'])
  assert.equal(await rawExchange(socket, GET), '')
  const lines = await harness.lines(2)
  assert.deepEqual(
    lines.map((line) => [line['response_code'], line['reason']]),
    [
      [200, null],
      [0, 'untrusted_certificate'],
    ],
  )
  await harness.stop(2)
})

test('a CA that is only added disturbs nobody and admits its callers', async (t) => {
  const { harness, home, other, connect, trust } = await start(t, 'home')
  const before = await served(connect(home))
  const session = h2Over(await connect(home, { alpn: ['h2'] }))
  assert.equal((await h2Request(session, HOST)).status, 200)
  assert.equal(await closedBy(connect(other)), '')
  await trust('both')
  assert.equal((await request(before.socket, HOST)).status, 200)
  assert.equal((await h2Request(session, HOST)).status, 200)
  const after = await served(connect(other))
  before.socket.destroy()
  after.socket.destroy()
  session.close()
  const lines = await harness.lines(6)
  assert.deepEqual(
    lines.map((line) => line['reason']),
    [null, null, 'untrusted_certificate', null, null, null],
  )
  await harness.stop(6)
})
