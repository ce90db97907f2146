/**
 * Property: wherever a caller disconnects, in whatever request, as many records are written as requests were accepted, and
 * nothing is left in flight on either side.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import fc from 'fast-check'
import { eventually } from '../../src/testing/eventually.ts'
import { request } from '../../src/testing/mesh-client.ts'
import { startEchoOrigin } from '../../src/testing/origin.ts'
import { test } from './engines.ts'
import { HOST, type Site, startSite } from './site.ts'

const RUNS = 60

type Caller = {
  readonly carrier: 'mesh' | 'plain'
  readonly method: string
  readonly path: string
  readonly framing: 'none' | 'counted' | 'chunked'
  readonly bodySize: number
  /** How much of the request is sent; 1000: all of it. */
  readonly sentPermille: number
  /** After a whole request: how many bytes of the answer are read before the caller leaves; fewer than any answer has. */
  readonly read: number
  readonly pipelined: number
}

const callers: fc.Arbitrary<Caller> = fc.record({
  carrier: fc.constantFrom('mesh', 'plain'),
  method: fc.constantFrom('GET', 'POST', 'PUT', 'DELETE'),
  path: fc.constantFrom('/status/204', '/bytes/10', '/bytes/300000', '/upload', '/anything', '/delay/0.02'),
  framing: fc.constantFrom('none', 'counted', 'chunked'),
  bodySize: fc.constantFrom(0, 1, 1000, 100_000, 400_000),
  sentPermille: fc.oneof(fc.integer({ min: 1, max: 1000 }), fc.constant(1000)),
  read: fc.integer({ min: 1, max: 80 }),
  pipelined: fc.integer({ min: 1, max: 3 }),
})

function bytesOf({ method, path, framing, bodySize }: Caller): string {
  const body = 'b'.repeat(bodySize)
  const head = `${method} ${path} HTTP/1.1\r\nHost: ${HOST}\r\n`
  if (framing === 'none') return `${head}\r\n`
  if (framing === 'counted') return `${head}Content-Length: ${bodySize}\r\n\r\n${body}`
  const chunk = bodySize === 0 ? '' : `${bodySize.toString(16)}\r\n${body}\r\n`
  return `${head}Transfer-Encoding: chunked\r\n\r\n${chunk}0\r\n\r\n`
}

/** Sends, perhaps reads, and leaves. */
async function call(site: Site, caller: Caller): Promise<void> {
  const socket = await site[caller.carrier]()
  const bytes = bytesOf(caller).repeat(caller.pipelined)
  const part = bytes.slice(0, Math.max(1, Math.floor((bytes.length * caller.sentPermille) / 1000)))
  const closed = once(socket, 'close')
  let read = 0
  socket.on('data', (chunk: Buffer) => {
    read += chunk.length
    if (read >= caller.read) socket.destroy()
  })
  socket.write(part, () => {
    // An early answer to a part of the request may have closed it already.
    if (part.length < bytes.length) socket.destroy()
  })
  await closed
}

test('records written = requests accepted, and every gauge returns to 0', { timeout: 110_000 }, async (t) => {
  const origin = await startEchoOrigin()
  t.after(() => origin.close())
  const site = await startSite(t, origin.port)
  await fc.assert(
    fc.asyncProperty(callers, async (caller) => {
      const before = await site.metric('envoy_http_downstream_rq_total')
      const recorded = await site.metric('sallyport_requests_total')
      await call(site, caller)
      await site.quiet()
      const accepted = (await site.metric('envoy_http_downstream_rq_total')) - before
      assert.equal((await site.metric('sallyport_requests_total')) - recorded, accepted)
      if (caller.sentPermille === 1000) assert.ok(accepted >= 1)
      assert.ok(accepted <= caller.pipelined)
    }),
    { numRuns: RUNS },
  )
  const total = await site.metric('envoy_http_downstream_rq_total')
  // A connection that ended after its first byte, before it was clear what it speaks, has a line of its own kind.
  const isRequest = (line: Readonly<Record<string, unknown>>) => line['protocol'] === 'HTTP/1.1'
  const lines = await eventually('every line is written', async () => {
    const found = await site.harness.lines(total)
    return found.filter(isRequest).length >= total ? found : null
  })
  assert.equal(lines.filter(isRequest).length, total)
  for (const line of lines)
    if (!isRequest(line))
      assert.deepEqual([line['protocol'], line['response_code'], line['response_flags']], [null, 0, 'DC'])
  // What all of that leaves behind serves the next caller.
  const socket = await site.mesh()
  assert.equal((await request(socket, HOST, { path: '/status/204' })).status, 204)
  socket.destroy()
  await site.quiet()
  await site.harness.stop(lines.length + 1)
})
