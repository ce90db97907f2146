/**
 * Bodies stream over HTTP/2 on both sides: memory does not grow with them, and a side that stops reading stops the side
 * that sends. As http1-bodies.test.ts; `SALLYPORT_TEST_BODY_MB=1024` runs the same with 1 GB.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { ClientHttp2Session, ClientHttp2Stream, ServerHttp2Stream } from 'node:http2'
import type { Readable, Writable } from 'node:stream'
import { type TestContext, test } from 'node:test'
import { h2Over, h2Stream, meshH2 } from '../../src/testing/h2-client.ts'
import { type H2OriginOptions, startH2Origin } from '../../src/testing/h2-origin.ts'
import type { Harness } from '../../src/testing/harness.ts'
import { plainConnect } from '../../src/testing/mesh-client.ts'
import { growthDuring, stoodStill } from './growth.ts'
import { documents, gateway, ISTIO_MUTUAL, serviceEntry, to, virtualService } from './manifests.ts'
import { started } from './started.ts'

const HOST = 'site.example'
const SIZE = Number(process.env['SALLYPORT_TEST_BODY_MB'] ?? 256) * 2 ** 20
/** Growth of the whole process, which is caller, gateway and origin at once. Buffering the body would take SIZE. */
const MAX_GROWTH = 112 * 2 ** 20
/** A stopped transfer may fill windows and socket buffers on two hops, no more. */
const STALLED_SIZE = 64 * 2 ** 20
const MAX_STALLED = 16 * 2 ** 20
const BLOCK = Buffer.alloc(64 * 1024, 'x')

type World = { readonly harness: Harness; readonly session: ClientHttp2Session }

async function world(
  t: TestContext,
  carrier: 'mesh' | 'plain',
  serve: (stream: ServerHttp2Stream) => void,
  options: H2OriginOptions = {},
): Promise<World> {
  const origin = await startH2Origin(({ stream, headers }) => {
    // A request that nobody reads, Node ends by a reset in place of END_STREAM.
    if (headers[':method'] === 'GET') stream.resume()
    serve(stream)
  }, options)
  t.after(async () => origin[Symbol.asyncDispose]())
  const server = carrier === 'mesh' ? gateway({ tls: ISTIO_MUTUAL }) : gateway({ protocol: 'HTTP2' })
  const entry = serviceEntry('site', HOST, origin.port, { protocol: 'HTTP2' })
  const resources = { 'all.yaml': documents(server, entry, virtualService('site', [HOST], [{ route: to(HOST) }])) }
  const harness = await started(t, { resources })
  const port = harness.gateway.port(80)
  const session =
    carrier === 'plain'
      ? h2Over(await plainConnect(port))
      : await meshH2({ port, svid: await harness.pki.svid('apps/sleep'), ca: harness.pki.root })
  return { harness, session }
}

/** Writes `size` bytes as fast as they are taken, then ends; `written` tells how far it got. */
function pump(to: Writable, size: number): { readonly written: () => number } {
  let written = 0
  const more = (): void => {
    while (written < size && !to.destroyed) {
      written += BLOCK.length
      if (!to.write(BLOCK)) return void to.once('drain', more)
    }
    to.end()
  }
  more()
  return { written: () => written }
}

async function count(body: Readable): Promise<number> {
  let bytes = 0
  for await (const chunk of body) bytes += (chunk as Buffer).length
  return bytes
}

/** Resolves when the stream has closed, with its trailer `x-bytes`. */
async function trailer(stream: ClientHttp2Stream): Promise<unknown> {
  const [fields] = (await once(stream, 'trailers')) as [Record<string, string>]
  return fields['x-bytes']
}

for (const carrier of ['mesh', 'plain'] as const) {
  test(`${carrier}: a large download streams, and its trailers come behind it`, async (t) => {
    const { harness, session } = await world(t, carrier, (stream) => {
      stream.respond({}, { waitForTrailers: true })
      stream.on('wantTrailers', () => stream.sendTrailers({ 'x-bytes': String(SIZE) }))
      pump(stream, SIZE)
    })
    const growth = await growthDuring(async () => {
      const stream = h2Stream(session, HOST)
      stream.end()
      const [bytes, said] = await Promise.all([count(stream), trailer(stream)])
      assert.deepEqual([bytes, said], [SIZE, String(SIZE)])
    })
    t.diagnostic(`resident set grew by ${Math.round(growth / 2 ** 20)} MB for ${SIZE / 2 ** 20} MB`)
    assert.ok(growth < MAX_GROWTH, `${growth} bytes`)
    const [line] = await harness.lines(1)
    assert.deepEqual([line?.['bytes_sent'], line?.['response_flags']], [SIZE, '-'])
    session.close()
    await harness.stop(1)
  })

  test(`${carrier}: a large upload streams`, async (t) => {
    const { harness, session } = await world(t, carrier, (stream) => {
      void count(stream).then((bytes) => {
        stream.respond({})
        stream.end(String(bytes))
      })
    })
    const growth = await growthDuring(async () => {
      const stream = h2Stream(session, HOST, { method: 'POST' })
      pump(stream, SIZE)
      let answer = ''
      for await (const chunk of stream) answer += String(chunk)
      assert.equal(answer, String(SIZE))
    })
    t.diagnostic(`resident set grew by ${Math.round(growth / 2 ** 20)} MB for ${SIZE / 2 ** 20} MB`)
    assert.ok(growth < MAX_GROWTH, `${growth} bytes`)
    const [line] = await harness.lines(1)
    assert.deepEqual([line?.['bytes_received'], line?.['response_flags']], [SIZE, '-'])
    session.close()
    await harness.stop(1)
  })
}

test('a caller who stops reading stops the origin, and gets everything when it goes on; others go on meanwhile', async (t) => {
  let written = () => 0
  const { harness, session } = await world(t, 'plain', (stream) => {
    stream.respond({})
    written = pump(stream, STALLED_SIZE).written
  })
  const stream = h2Stream(session, HOST)
  stream.end()
  await once(stream, 'response')
  const stalled = await stoodStill(() => written())
  t.diagnostic(`stopped after ${Math.round(stalled / 2 ** 20)} MB`)
  assert.ok(stalled < MAX_STALLED, `${stalled} bytes went to a caller who reads none`)
  const other = h2Stream(session, HOST)
  other.end()
  assert.equal(await count(other), STALLED_SIZE)
  assert.equal(await count(stream), STALLED_SIZE)
  session.close()
  await harness.stop(2)
})

test('an origin that stops reading stops the caller', async (t) => {
  const { harness, session } = await world(t, 'plain', () => {})
  const stream = h2Stream(session, HOST, { method: 'POST' })
  const { written } = pump(stream, STALLED_SIZE)
  const stalled = await stoodStill(written)
  t.diagnostic(`stopped after ${Math.round(stalled / 2 ** 20)} MB`)
  assert.ok(stalled < MAX_STALLED, `${stalled} bytes went to an origin that reads none`)
  stream.close(8)
  session.close()
  await harness.stop(1)
})
