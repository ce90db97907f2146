/**
 * Ends that took the process down, or left an HTTP/2 caller with the wrong end or none: fields that an upstream repeats,
 * a field named like a property of every object, lengths without a body, resets that say NO_ERROR, bodies nobody reads.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { ClientHttp2Session } from 'node:http2'
import { type TestContext, test } from 'node:test'
import { gatewayYaml, MESH_SERVER, policyYaml, siteYaml } from '../../src/testing/egress-resources.ts'
import { eventually } from '../../src/testing/eventually.ts'
import { h2Answer, h2Over, h2Request, h2Stream } from '../../src/testing/h2-client.ts'
import { type Harness, startHarness } from '../../src/testing/harness.ts'
import { plainConnect } from '../../src/testing/mesh-client.ts'
import { type RawOrigin, type RawOriginOptions, startRawOrigin } from '../../src/testing/origin.ts'

const HOST = 'site.example'
const OK = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'

type World = { readonly harness: Harness; readonly origin: RawOrigin; readonly session: ClientHttp2Session }

async function start(t: TestContext, options: RawOriginOptions, spec: Record<string, unknown> = {}): Promise<World> {
  const origin = await startRawOrigin(options)
  const servers = [MESH_SERVER, { port: 443, name: 'plain', protocol: 'HTTP2' }]
  const denied = policyYaml('denied', 'DENY', [{ to: [{ operation: { paths: ['/denied'] } }] }])
  const all = [gatewayYaml(servers), siteYaml(HOST, origin.port), denied].join('---\n')
  const harness = await startHarness({ resources: { 'all.yaml': all }, spec })
  t.after(async () => {
    if (harness.gateway.lifecycle.phase !== 'closed') await harness.gateway.destroy()
    await origin.close()
  })
  return { harness, origin, session: h2Over(await plainConnect(harness.gateway.port(443))) }
}

test("an upstream's fields reach an HTTP/2 caller as they came, whatever they are called and however often", async (t) => {
  const fields = [
    'content-type: a\r\ncontent-type: b',
    'etag: a\r\netag: a\r\ndate: x\r\ndate: y\r\nretry-after: 1\r\nretry-after: 2',
    'constructor: c\r\n__proto__: p',
  ]
  let next = 0
  const { harness, session } = await start(t, {
    onRequest: ({ socket }) => socket.write(OK.replace('\r\n\r\n', `\r\n${fields[next++]}\r\n\r\n`)),
  })
  const answers = []
  for (const _ of fields) {
    const stream = h2Stream(session, HOST)
    const raw = new Promise<string[]>((resolve) =>
      stream.once('response', (_headers, _flags, list: string[]) => resolve(list)),
    )
    stream.end()
    const { status, rstCode, body } = await h2Answer(stream)
    assert.deepEqual([status, rstCode, body.toString()], [200, 0, 'ok'])
    answers.push(await raw)
  }
  const values = (list: string[] | undefined, name: string) =>
    (list ?? []).filter((_, i) => i % 2 === 1 && list?.[i - 1] === name)
  assert.deepEqual(values(answers[0], 'content-type'), ['a', 'b'])
  assert.deepEqual(values(answers[1], 'etag'), ['a', 'a'])
  assert.deepEqual(values(answers[1], 'retry-after'), ['1', '2'])
  assert.deepEqual([values(answers[2], 'constructor'), values(answers[2], '__proto__')], [['c'], ['p']])
  session.close()
  await harness.stop(fields.length)
})

test('204 and 205 lose the length of a body that cannot follow, in both versions', async (t) => {
  const heads = ['204 No Content', '205 Reset Content']
  let next = 0
  const { harness, session } = await start(t, {
    onRequest: ({ socket }) => {
      const head = heads[next++ % 2] as string
      socket.write(`HTTP/1.1 ${head}\r\ncontent-length: 2\r\n\r\n${head.startsWith('205') ? 'ok' : ''}`)
    },
  })
  for (const status of [204, 205]) {
    const answer = await h2Request(session, HOST)
    assert.deepEqual([answer.status, answer.rstCode, answer.headers['content-length']], [status, 0, undefined])
  }
  const socket = await plainConnect(harness.gateway.port(443))
  let text = ''
  socket.setEncoding('latin1').on('data', (chunk: string) => (text += chunk))
  socket.write(`GET / HTTP/1.1\r\nhost: ${HOST}\r\n\r\n`)
  await eventually('the head of the 204', () => text.includes('\r\n\r\n'))
  assert.match(text, /^HTTP\/1\.1 204 /)
  assert.doesNotMatch(text, /content-length|transfer-encoding/i)
  socket.destroy()
  session.close()
  await harness.stop(3)
})

test('a refusal of gRPC is Trailers-Only; a refused or answered request whose body goes on is ended, and logged', async (t) => {
  const { harness, session } = await start(t, { onRequest: ({ socket }) => socket.write(OK) })
  const grpc = h2Stream(session, HOST, {
    method: 'POST',
    path: '/denied',
    headers: { 'content-type': 'application/grpc' },
  })
  const [headers, flags] = (await once(grpc, 'response')) as [Record<string, string>, number]
  assert.equal(headers['grpc-status'], '7')
  assert.equal(flags & 1, 1, 'END_STREAM on the head')
  await h2Answer(grpc)
  for (const [path, status] of [
    ['/denied', 403],
    ['/', 200],
  ] as const) {
    const stream = h2Stream(session, HOST, { method: 'POST', path })
    stream.write('a body without an end')
    const answer = await h2Answer(stream)
    assert.deepEqual([answer.status, answer.rstCode], [status, 0])
  }
  const lines = await harness.lines(3)
  assert.deepEqual(
    lines.map((line) => [line['response_code'], line['response_flags']]),
    [
      [200, '-'],
      [403, '-'],
      [200, '-'],
    ],
  )
  session.close()
  await harness.stop(3)
})

test('an unread body does not keep a stream: a reset with NO_ERROR is a hang-up, and an early answer an end', async (t) => {
  // The origin reads the head and nothing more, so that the gateway holds unread body when the stream ends.
  const { harness, origin, session } = await start(t, { onRequest: ({ socket }) => socket.pause() })
  const blocked = async (index: number) => {
    const stream = h2Stream(session, HOST, { method: 'POST', path: `/${index}` })
    const connection = await origin.connection(index)
    await connection.until((text) => text.includes('\r\n\r\n'))
    const block = Buffer.alloc(65_536)
    let waiting = false
    // Until back-pressure has come all the way.
    while (!waiting)
      waiting = await Promise.race([written(stream, block).then(() => false), delayed(500).then(() => true)])
    return { stream, connection }
  }
  const first = await blocked(0)
  first.stream.close(0)
  const [line] = await harness.lines(1)
  assert.deepEqual(
    [line?.['response_code'], line?.['response_flags'], line?.['response_code_details']],
    [0, 'DC', 'downstream_remote_disconnect'],
  )
  first.connection.socket.write(OK)

  const second = await blocked(1)
  second.connection.socket.write(OK)
  const answer = await h2Answer(second.stream)
  assert.deepEqual([answer.status, answer.body.toString(), answer.rstCode], [200, 'ok', 0])
  assert.equal((await harness.lines(2))[1]?.['response_code'], 200)

  // The session goes on, and neither body was ever completed.
  assert.equal((await h2Request(session, HOST, { path: '/denied' })).status, 403)
  for (const { connection } of [first, second]) {
    connection.socket.resume()
    await connection.closed
    assert.ok(!connection.text.endsWith('0\r\n\r\n'))
  }
  // Node's client would keep its half of the stream that it reset with NO_ERROR.
  session.destroy()
  await harness.stop(3)
})

function written(stream: { write(chunk: Buffer, done: () => void): boolean }, block: Buffer): Promise<void> {
  return new Promise((resolve) => void stream.write(block, () => resolve()))
}

function delayed(ms: number): Promise<void> {
  return new Promise((resolve) => void setTimeout(resolve, ms))
}

test('an HTTP/2 connection counts once', async (t) => {
  const limits = { http: { limits: { maxConnections: 2 } } }
  const { harness, session } = await start(t, { onRequest: ({ socket }) => socket.write(OK) }, limits)
  assert.equal((await h2Request(session, HOST)).status, 200)
  const second = h2Over(await plainConnect(harness.gateway.port(443)))
  assert.equal((await h2Request(second, HOST)).status, 200)
  const third = h2Over(await plainConnect(harness.gateway.port(443)))
  assert.equal((await h2Request(third, HOST)).status, 0, 'a third one is over the limit')
  session.close()
  second.close()
  await harness.stop(2)
})
