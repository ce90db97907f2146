/**
 * includeRequestBodyInCheck: the authorizer sees the beginning of a body, the site gets all of it, byte for byte and no
 * faster than it reads. With both HTTP/1.1 engines, and over HTTP/2.
 */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import type { TestContext } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import { h2Answer, h2Request, h2Stream, meshH2 } from '../../src/testing/h2-client.ts'
import type { Harness } from '../../src/testing/harness.ts'
import { meshConnect, rawExchange, request } from '../../src/testing/mesh-client.ts'
import { customPolicy, type HttpAuthorizer, httpProvider, startHttpAuthorizer } from './authorizers.ts'
import { test } from './engines.ts'
import { stoodStill } from './growth.ts'
import { documents, gateway, ISTIO_MUTUAL, serviceEntry, to, virtualService } from './manifests.ts'
import { started } from './started.ts'

const HOST = 'site.example'

type Received = { readonly body: Buffer; readonly length: string | undefined }

type World = {
  readonly harness: Harness
  readonly authorizer: HttpAuthorizer
  readonly received: Received[]
  readonly connect: () => Promise<Socket>
  /** The site stops reading. */
  stalls: boolean
}

/** A site that keeps what it is sent. */
async function world(t: TestContext, body: object, provider: object = {}): Promise<World> {
  const authorizer = await startHttpAuthorizer(t)
  const received: Received[] = []
  const serve = async (incoming: IncomingMessage, response: ServerResponse): Promise<void> => {
    if (made.stalls) return
    const chunks: Buffer[] = []
    try {
      for await (const chunk of incoming) chunks.push(chunk as Buffer)
    } catch {
      return
    }
    received.push({ body: Buffer.concat(chunks), length: incoming.headers['content-length'] })
    response.end('ok')
  }
  const site = createServer((incoming, response) => void serve(incoming, response))
  site.listen(0, '127.0.0.1')
  await once(site, 'listening')
  t.after(() => {
    site.close()
    site.closeAllConnections()
  })
  const harness = await started(t, {
    spec: {
      meshConfig: {
        extensionProviders: [httpProvider(authorizer.port, { includeRequestBodyInCheck: body, ...provider })],
      },
    },
    resources: {
      'all.yaml': documents(
        gateway({ tls: ISTIO_MUTUAL }),
        serviceEntry('site', HOST, (site.address() as AddressInfo).port),
        virtualService('site', [HOST], [{ route: to(HOST) }]),
        customPolicy([{}]),
      ),
    },
  })
  const svid = await harness.pki.svid('apps/sleep')
  const made: World = {
    harness,
    authorizer,
    received,
    stalls: false,
    connect: async () => {
      const socket = await meshConnect({ port: harness.gateway.port(80), svid, ca: harness.pki.root })
      t.after(() => socket.destroy())
      return socket
    },
  }
  return made
}

test('a body that fits is shown whole; none is shown as none', async (t) => {
  const { authorizer, connect, received, harness } = await world(t, { maxRequestBytes: 16 })
  const socket = await connect()
  assert.equal((await request(socket, HOST, { method: 'POST', body: 'sixteen bytes ok' })).status, 200)
  assert.equal((await request(socket, HOST)).status, 200)
  const chunked = await request(socket, HOST, {
    method: 'POST',
    headers: { 'transfer-encoding': 'chunked' },
    body: 'chunks',
  })
  assert.equal(chunked.status, 200)
  assert.deepEqual(
    authorizer.checks.map(({ body, headers }) => [
      body,
      headers['content-length'],
      headers['x-envoy-auth-partial-body'],
    ]),
    [
      ['sixteen bytes ok', '16', 'false'],
      ['', '0', 'false'],
      ['chunks', '6', 'false'],
    ],
  )
  assert.deepEqual(
    received.map(({ body, length }) => [body.toString(), length]),
    [
      ['sixteen bytes ok', '16'],
      ['', undefined],
      ['chunks', undefined],
    ],
  )
  const lines = await harness.lines(3)
  assert.deepEqual(
    lines.map((line) => line['bytes_received']),
    [16, 0, 6],
  )
  await harness.stop(3)
})

test('a longer one is refused with 413, and nothing of it goes out', async (t) => {
  const { authorizer, connect, received, harness } = await world(t, { maxRequestBytes: 16 })
  const answer = await request(await connect(), HOST, { method: 'POST', body: 'seventeen bytes !' })
  assert.deepEqual([answer.status, answer.body], [413, 'Payload Too Large'])
  assert.equal(answer.headers['x-sallyport-reason'], 'ext_authz_denied')
  assert.deepEqual([authorizer.checks.length, received.length], [0, 0])
  const [line] = await harness.lines(1)
  assert.deepEqual([line?.['response_code_details'], line?.['response_flags']], ['request_payload_too_large', 'UAEX'])
  await harness.stop(1)
})

test('allowPartialMessage: the beginning is shown, and all of it goes out', async (t) => {
  const { authorizer, connect, received, harness } = await world(t, {
    maxRequestBytes: 1000,
    allowPartialMessage: true,
  })
  const body = randomBytes(3_000_000)
  const answer = await request(await connect(), HOST, { method: 'POST', body })
  assert.equal(answer.status, 200)
  const [check] = authorizer.checks
  assert.equal(check?.headers['content-length'], '1000')
  assert.equal(check?.headers['x-envoy-auth-partial-body'], 'true')
  assert.equal(received[0]?.length, '3000000')
  assert.ok(received[0]?.body.equals(body))
  assert.equal((await harness.lines(1))[0]?.['bytes_received'], 3_000_000)
  await harness.stop(1)
})

test('a refused body is not read to its end, and the connection is not taken for one in step', async (t) => {
  const { authorizer, connect, received, harness } = await world(t, { maxRequestBytes: 4, allowPartialMessage: true })
  authorizer.decide = () => ({ status: 403, body: 'no' })
  const socket = await connect()
  const head = `POST / HTTP/1.1\r\nhost: ${HOST}\r\ncontent-length: 100\r\n\r\n`
  const text = await rawExchange(socket, `${head}12345GET /smuggled HTTP/1.1\r\nhost: ${HOST}\r\n\r\n`)
  assert.match(text, /^HTTP\/1\.1 403 /)
  assert.equal(text.match(/HTTP\/1\.1/g)?.length, 1)
  assert.equal(received.length, 0)
  await harness.lines(1)
  await harness.stop(1)
})

test('Expect: 100-continue is answered once, before the check, when the body is to be shown', async (t) => {
  const { authorizer, connect, received, harness } = await world(t, { maxRequestBytes: 100 })
  const socket = await connect()
  const head = `POST / HTTP/1.1\r\nhost: ${HOST}\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n`
  let sent = false
  const text = await rawExchange(socket, head, (seen) => {
    if (!sent && seen.includes('100 Continue')) {
      sent = true
      assert.equal(authorizer.checks.length, 0)
      socket.write('hello')
    }
    return seen.endsWith('ok') || seen.endsWith('ok\r\n0\r\n\r\n')
  })
  assert.equal(text.match(/100 Continue/g)?.length, 1)
  assert.match(text, /HTTP\/1\.1 200 /)
  assert.equal(authorizer.checks[0]?.body, 'hello')
  assert.equal(received[0]?.body.toString(), 'hello')
  socket.destroy()
  await harness.stop(1)
})

test('Expect: 100-continue is not answered when the request is refused without its body', async (t) => {
  const { authorizer, connect, harness } = await world(
    t,
    { maxRequestBytes: 100 },
    { includeRequestBodyInCheck: undefined },
  )
  authorizer.decide = () => ({ status: 403 })
  const socket = await connect()
  const head = `POST / HTTP/1.1\r\nhost: ${HOST}\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n`
  const text = await rawExchange(socket, head)
  assert.match(text, /^HTTP\/1\.1 403 /)
  await harness.stop(1)
})

test('a body that breaks off is not asked about, and one that is malformed neither', async (t) => {
  const { authorizer, connect, received, harness } = await world(t, { maxRequestBytes: 100 })
  const leaving = await connect()
  leaving.write(`POST / HTTP/1.1\r\nhost: ${HOST}\r\ncontent-length: 50\r\n\r\nhalf`)
  await eventually('the request', () => (harness.gateway.metrics.open().connections > 0 ? true : null))
  leaving.destroy()
  await harness.lines(1)
  const wrong = await connect()
  const text = await rawExchange(
    wrong,
    `POST / HTTP/1.1\r\nhost: ${HOST}\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nnonsense\r\n`,
  )
  assert.match(text, /^HTTP\/1\.1 400 /)
  assert.deepEqual([authorizer.checks.length, received.length], [0, 0])
  await harness.lines(2)
  await harness.stop(2)
})

test('a site that stops reading stops the caller, after the check as without one', async (t) => {
  const made = await world(t, { maxRequestBytes: 1000, allowPartialMessage: true })
  made.stalls = true
  const socket = await made.connect()
  const total = 64 * 2 ** 20
  const block = Buffer.alloc(64 * 1024, 'x')
  let written = 0
  socket.write(`POST / HTTP/1.1\r\nhost: ${HOST}\r\ncontent-length: ${total}\r\n\r\n`)
  const more = (): void => {
    while (written < total && !socket.destroyed) {
      written += block.length
      if (!socket.write(block)) return void socket.once('drain', more)
    }
  }
  more()
  await stoodStill(() => written)
  assert.ok(written > 1000 && written < 40 * 2 ** 20, `${written} bytes`)
  socket.destroy()
  // A caller that nobody reads is not missed before the drain is over.
  await made.harness.gateway.destroy()
  await made.harness.stop(1)
})

test('HTTP/2: shown, streamed on, refused, and held back', async (t) => {
  const made = await world(t, { maxRequestBytes: 1000, allowPartialMessage: true })
  const { authorizer, harness, received } = made
  const svid = await harness.pki.svid('apps/sleep')
  const session = await meshH2({ port: harness.gateway.port(80), svid, ca: harness.pki.root })
  t.after(() => session.destroy())
  const body = randomBytes(1_000_000)
  assert.equal((await h2Request(session, HOST, { method: 'POST', body })).status, 200)
  assert.ok(received[0]?.body.equals(body))
  assert.equal(authorizer.checks[0]?.headers['x-envoy-auth-partial-body'], 'true')
  assert.equal((await h2Request(session, HOST, { method: 'POST', body: 'short' })).status, 200)
  assert.deepEqual([authorizer.checks[1]?.body, received[1]?.body.toString()], ['short', 'short'])

  authorizer.decide = () => ({ status: 403, body: 'no' })
  const refused = h2Stream(session, HOST, { method: 'POST' })
  refused.write(body.subarray(0, 2000))
  const answer = await h2Answer(refused)
  assert.deepEqual([answer.status, answer.body.toString(), received.length], [403, 'no', 2])

  authorizer.decide = () => ({ status: 200 })
  made.stalls = true
  const stalled = h2Stream(session, HOST, { method: 'POST' })
  let written = 0
  const block = Buffer.alloc(64 * 1024, 'x')
  const more = (): void => {
    while (written < 64 * 2 ** 20 && !stalled.destroyed) {
      written += block.length
      if (!stalled.write(block)) return void stalled.once('drain', more)
    }
  }
  more()
  await stoodStill(() => written)
  assert.ok(written < 16 * 2 ** 20, `${written} bytes`)
  stalled.destroy()
  await harness.lines(4)
  await harness.stop(4)
})
