/**
 * Pipelined requests ran all at once: 500 of them in one packet were 500 connections to the outside, and a POST could
 * overtake the one before it. They take turns now, and only so many wait.
 */
import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { gatewayYaml, siteYaml } from '../../src/testing/egress-resources.ts'
import { eventually } from '../../src/testing/eventually.ts'
import { type Harness, startHarness } from '../../src/testing/harness.ts'
import { plainConnect, rawExchange } from '../../src/testing/mesh-client.ts'
import { type RawOrigin, type RawOriginOptions, startRawOrigin } from '../../src/testing/origin.ts'
import { differences, test } from '../integration/engines.ts'

const HOST = 'site.example'
const MAX_PIPELINED = 100

async function start(t: TestContext, options: RawOriginOptions): Promise<{ harness: Harness; origin: RawOrigin }> {
  const origin = await startRawOrigin(options)
  const gateway = gatewayYaml([{ port: 80, name: 'http', protocol: 'HTTP' }])
  const harness = await startHarness({ resources: { 'all.yaml': `${gateway}---\n${siteYaml(HOST, origin.port)}` } })
  t.after(async () => {
    if (harness.gateway.lifecycle.phase !== 'closed') await harness.gateway.destroy()
    await origin.close()
  })
  return { harness, origin }
}

const post = (path: string) => `POST ${path} HTTP/1.1\r\nhost: ${HOST}\r\ncontent-length: 0\r\n\r\n`
const answer = (body: string) => `HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n\r\n${body}`
const count = (text: string, part: string) => text.split(part).length - 1

test('each request waits for the answer to the one before', async (t) => {
  let running = 0
  let most = 0
  const { harness, origin } = await start(t, {
    onRequest: ({ socket }, head) => {
      running += 1
      most = Math.max(most, running)
      setImmediate(() => {
        running -= 1
        socket.write(answer(head.split(' ')[1] as string))
      })
    },
  })
  const socket = await plainConnect(harness.gateway.port(80))
  const paths = Array.from({ length: 20 }, (_, i) => `/${i}`)
  const text = await rawExchange(
    socket,
    paths.map(post).join(''),
    (got) => count(got, 'HTTP/1.1 200') === 20 && got.endsWith('/19'),
  )
  assert.deepEqual(
    text
      .split('\r\n\r\n')
      .slice(1)
      .map((part) => part.split('HTTP/1.1')[0]),
    paths,
  )
  assert.equal(most, 1)
  // A connection rests one turn of the event loop before it is used again.
  assert.ok(origin.connections.length <= 2, String(origin.connections.length))
  socket.destroy()
  const lines = await harness.lines(20)
  assert.deepEqual(
    lines.map((line) => line['path']),
    paths,
  )
  await harness.stop(20)
})

test('the caller hangs up: what had not had its turn is never sent, and each that was read has its line', async (t) => {
  const { harness, origin } = await start(t, {})
  const socket = await plainConnect(harness.gateway.port(80))
  socket.write(['/a', '/b', '/c'].map(post).join(''))
  const connection = await origin.connection(0)
  await connection.until((text) => text.includes('\r\n\r\n'))
  socket.destroy()
  await connection.closed
  const read = differences().readsAhead ? ['/a', '/b', '/c'] : ['/a']
  const lines = await harness.lines(read.length)
  assert.deepEqual(
    lines.map((line) => [line['path'], line['response_code'], line['response_flags']]),
    read.map((path) => [path, 0, 'DC']),
  )
  assert.equal(origin.connections.length, 1)
  assert.ok(!connection.text.includes('/b'))
  await harness.stop(read.length)
})

test('a refusal that ends the connection ends the waiting too', async (t) => {
  const { harness, origin } = await start(t, {
    onRequest: ({ socket }) => setImmediate(() => socket.write(answer('ok'))),
  })
  const socket = await plainConnect(harness.gateway.port(80))
  const bad = `GET /bad HTTP/1.1\r\nhost: ${HOST}\r\nhost: other.example\r\n\r\n`
  const text = await rawExchange(socket, `${post('/a')}${bad}${post('/c')}`)
  assert.deepEqual([count(text, 'HTTP/1.1 '), count(text, 'HTTP/1.1 400')], [2, 1])
  await eventually('the connection is gone', () =>
    harness.gateway.boundPorts.every(({ stats }) => stats.downstream_cx_active === 0),
  )
  assert.ok(!origin.connections.some((connection) => connection.text.includes('/c')))
  const lines = await harness.lines(2)
  assert.deepEqual(
    lines.slice(0, 2).map((line) => [line['path'], line['response_code']]),
    [
      ['/a', 200],
      ['/bad', 400],
    ],
  )
  await harness.stop(2)
})

test('only so many wait: those are answered, then the connection ends; or the caller has to wait', async (t) => {
  const { harness } = await start(t, { onRequest: ({ socket }) => setImmediate(() => socket.write(answer('ok'))) })
  const socket = await plainConnect(harness.gateway.port(80))
  const sent = MAX_PIPELINED * 3
  const answered = differences().readsAhead ? MAX_PIPELINED : sent
  const text = await rawExchange(
    socket,
    post('/x').repeat(sent),
    (got) => got.endsWith('ok') && count(got, 'ok') === sent,
  )
  socket.destroy()
  assert.equal(count(text, 'HTTP/1.1 200'), answered)
  await harness.stop(answered)
})

test('an answer that comes before the body is over ends the connection: the rest of the body has no reader', async (t) => {
  const { harness } = await start(t, {
    onRequest: ({ socket }) =>
      socket.end('HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n'),
  })
  const socket = await plainConnect(harness.gateway.port(80))
  const text = await rawExchange(
    socket,
    `POST / HTTP/1.1\r\nhost: ${HOST}\r\ncontent-length: 100000000\r\n\r\n${'x'.repeat(1_000_000)}`,
  )
  assert.match(text, /^HTTP\/1\.1 413 /)
  const [line] = await harness.lines(1)
  assert.deepEqual([line?.['response_code'], line?.['response_flags']], [413, '-'])
  await harness.stop(1)
})
