/** Mirrors end to end: what they are sent, and that nothing about them reaches the caller, the log, or the memory of the gateway. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import type { TestContext } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import type { Harness } from '../../src/testing/harness.ts'
import { plainConnect, request } from '../../src/testing/mesh-client.ts'
import { type RawOrigin, startEchoOrigin, startRawOrigin } from '../../src/testing/origin.ts'
import { test } from './engines.ts'
import { documents, gateway, serviceEntry, to, virtualService } from './manifests.ts'
import { freePort, stat } from './operator.ts'
import { started } from './started.ts'

const HOST = 'site.example'
const MIRROR = 'mirror.example'
const CLUSTER = `cluster.outbound|80||${MIRROR}`
const OK = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'
const BIG = Buffer.alloc(10 * 1024 * 1024, 'sallyport ')

type Options = {
  readonly rule?: object
  readonly mirrorSpec?: object
  readonly siteSpec?: object
}

async function world(t: TestContext, sitePort: number, mirrorPort: number, options: Options = {}): Promise<Harness> {
  const { rule = {}, mirrorSpec = {}, siteSpec = {} } = options
  const mirror = { host: MIRROR, port: { number: 80 } }
  return started(t, {
    spec: { drainDuration: '60s' },
    resources: {
      'all.yaml': documents(
        gateway(),
        serviceEntry('site', HOST, sitePort, { spec: siteSpec }),
        serviceEntry('mirror', MIRROR, mirrorPort, { spec: mirrorSpec }),
        virtualService('site', [HOST], [{ route: to(HOST), mirrors: [{ destination: mirror }], ...rule }]),
      ),
    },
  })
}

const body = (text: string): string => text.slice(text.indexOf('\r\n\r\n') + 4)
const quiet = (harness: Harness) =>
  eventually('no copy is under way', async () => (await stat(harness, `${CLUSTER}.upstream_rq_active`)) === 0)

async function recorder(t: TestContext): Promise<RawOrigin> {
  const origin = await startRawOrigin({ onRequest: ({ socket }) => void socket.write(OK) })
  t.after(() => origin.close())
  return origin
}

test('a copy has the same method, target, fields and body as what went out; Host says that it is one; one line', async (t) => {
  const site = await recorder(t)
  const mirror = await recorder(t)
  const harness = await world(t, site.port, mirror.port, {
    rule: {
      match: [{ uri: { prefix: '/old/' } }],
      rewrite: { uri: '/new/' },
      headers: { request: { set: { 'x-set': 'rule' }, remove: ['x-gone'] } },
    },
  })
  const socket = await plainConnect(harness.gateway.port(80))
  const headers = { 'x-gone': 'a', 'x-kept': 'b', 'x-envoy-retry-on': '5xx', 'x-request-id': 'id-1' }
  const answer = await request(socket, `${HOST}:80`, { method: 'PUT', path: '/old/a?q=1', headers, body: 'hello' })
  assert.equal(answer.body, 'ok')
  socket.destroy()
  const copied = await (await mirror.connection(0)).until((text) => text.endsWith('hello'))
  const sent = (await site.connection(0)).text
  assert.match(sent, /^PUT \/new\/a\?q=1 HTTP\/1\.1\r\nhost: site\.example:80\r\n/)
  assert.equal(copied, sent.replace('host: site.example:80', 'host: site.example-shadow:80'))
  assert.match(copied, /\r\nx-set: rule\r\n/)
  assert.doesNotMatch(copied, /x-gone|x-envoy/)
  await quiet(harness)
  assert.equal(await stat(harness, `${CLUSTER}.upstream_rq_total`), 1)
  assert.equal(await stat(harness, `cluster.outbound|80||${HOST}.upstream_rq_total`), 1)
  const [line] = await harness.lines(1)
  assert.deepEqual([line?.['authority'], line?.['upstream_cluster']], [`${HOST}:80`, `outbound|80||${HOST}`])
  await harness.stop(1)
})

/** TABLE: mirrors that are no good. */
const BAD: Readonly<Record<string, Parameters<typeof startRawOrigin>[0] | null>> = {
  'is not there': null,
  'resets every connection': { onConnection: (connection) => connection.reset() },
  'never answers': {},
  'never reads': { onConnection: ({ socket }) => void socket.pause() },
  'answers nonsense': { onConnection: ({ socket }) => void socket.write('SSH-2.0-OpenSSH_9.6\r\n') },
  'refuses the body': {
    onRequest: ({ socket }) => void socket.end('HTTP/1.1 413 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n'),
  },
}

for (const [name, behaviour] of Object.entries(BAD)) {
  test(`a mirror that ${name} changes nothing for the caller, and goes when its time is over`, async (t) => {
    await using origin = await startEchoOrigin()
    let mirrorPort = await freePort()
    if (behaviour !== null) {
      const mirror = await startRawOrigin(behaviour)
      t.after(() => mirror.close())
      mirrorPort = mirror.port
    }
    const harness = await world(t, origin.port, mirrorPort, { rule: { timeout: '6s' } })
    const socket = await plainConnect(harness.gateway.port(80))
    assert.equal((await request(socket, HOST, { path: '/status/201' })).status, 201)
    const upload = await request(socket, HOST, { method: 'POST', path: '/upload', body: BIG })
    assert.deepEqual([upload.status, JSON.parse(upload.body)], [200, { bytes: BIG.length }])
    socket.destroy()
    const lines = await harness.lines(2)
    assert.deepEqual(
      lines.map((line) => [line['response_code'], line['response_flags'], line['upstream_cluster']]),
      [201, 200].map((code) => [code, '-', `outbound|80||${HOST}`]),
    )
    await quiet(harness)
    assert.equal(await stat(harness, `${CLUSTER}.upstream_cx_active`), 0)
    await harness.stop(2)
  })
}

/** Digests what it is sent, and answers when it has all of it. */
async function digester(t: TestContext): Promise<{ readonly port: number; readonly digests: readonly string[] }> {
  const digests: string[] = []
  const server = http.createServer((req, res) => {
    const hash = createHash('sha256')
    req.pipe(hash).once('finish', () => {
      digests.push(hash.digest('hex'))
      res.end()
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.closeAllConnections())
  t.after(() => server.close())
  return { port: (server.address() as AddressInfo).port, digests }
}

test('a body of 10 MB arrives whole at a mirror that keeps up', async (t) => {
  const site = await digester(t)
  const mirror = await digester(t)
  const harness = await world(t, site.port, mirror.port)
  const socket = await plainConnect(harness.gateway.port(80))
  assert.equal((await request(socket, HOST)).status, 200)
  await quiet(harness)
  assert.equal((await request(socket, HOST, { method: 'POST', body: BIG })).status, 200)
  socket.destroy()
  await quiet(harness)
  const digest = createHash('sha256').update(BIG).digest('hex')
  assert.deepEqual([site.digests[1], mirror.digests[1]], [digest, digest])
  assert.equal(await stat(harness, `${CLUSTER}.upstream_cx_total`), 1)
  await harness.stop(2)
})

test('a caller who leaves in the middle of a body: the copy does not end as if it were whole', async (t) => {
  const site = await startRawOrigin()
  t.after(() => site.close())
  const mirror = await startRawOrigin()
  t.after(() => mirror.close())
  const harness = await world(t, site.port, mirror.port)
  const socket = await plainConnect(harness.gateway.port(80))
  socket.write(`POST / HTTP/1.1\r\nHost: ${HOST}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n`)
  const copy = await mirror.connection(0)
  await copy.until((text) => body(text).includes('hello'))
  socket.destroy()
  await copy.closed
  assert.doesNotMatch(body(copy.text), /\r\n0\r\n\r\n$/)
  await harness.lines(1)
  await quiet(harness)
  await harness.stop(1)
})

test('an address that may not be dialled is not dialled for a mirror either', async (t) => {
  await using origin = await startEchoOrigin()
  const harness = await world(t, origin.port, 80, {
    mirrorSpec: { endpoints: [{ address: '169.254.169.254' }] },
  })
  const socket = await plainConnect(harness.gateway.port(80))
  assert.equal((await request(socket, HOST)).status, 200)
  socket.destroy()
  const [line] = await harness.lines(1)
  assert.deepEqual([line?.['response_flags'], line?.['reason']], ['-', null])
  await eventually('it is denied', async () => (await stat(harness, `${CLUSTER}.upstream_rq_403`)) === 1)
  assert.equal(await stat(harness, `${CLUSTER}.upstream_cx_total`), 0)
  await harness.stop(1)
})

test('what stays in the mesh stays there: a mirror outside is told less than a destination inside', async (t) => {
  const site = await recorder(t)
  const mirror = await recorder(t)
  const harness = await world(t, site.port, mirror.port, { siteSpec: { location: 'MESH_INTERNAL' } })
  const socket = await plainConnect(harness.gateway.port(80))
  assert.equal((await request(socket, HOST)).status, 200)
  socket.destroy()
  const copied = await (await mirror.connection(0)).until((text) => text.endsWith('\r\n\r\n'))
  assert.match((await site.connection(0)).text, /\r\nx-forwarded-for: 127\.0\.0\.1\r\n/)
  assert.doesNotMatch(copied, /x-forwarded/)
  await quiet(harness)
  await harness.stop(1)
})

test('a copy that never ends does not hold the drain', async (t) => {
  await using origin = await startEchoOrigin()
  const mirror = await startRawOrigin()
  t.after(() => mirror.close())
  const harness = await world(t, origin.port, mirror.port)
  const socket = await plainConnect(harness.gateway.port(80))
  assert.equal((await request(socket, HOST)).status, 200)
  const copy = await mirror.connection(0)
  socket.destroy()
  await once(socket, 'close')
  const began = performance.now()
  await harness.stop(1)
  await copy.closed
  assert.ok(performance.now() - began < 30_000, 'the drain would last 60 s')
})
