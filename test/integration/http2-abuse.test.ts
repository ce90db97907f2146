/**
 * HTTP/2 as a weapon (threats 15–17): rapid reset (CVE-2023-44487), CONTINUATION floods (CVE-2024-27983), control-frame
 * floods, window overflow (CVE-2026-21714). The session may be closed; the process and every other caller go on.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { constants } from 'node:http2'
import { type TestContext, test } from 'node:test'
import { gatewayYaml, siteYaml } from '../../src/testing/egress-resources.ts'
import { eventually } from '../../src/testing/eventually.ts'
import { collectGarbage } from '../../src/testing/garbage.ts'
import { h2Over, h2Request } from '../../src/testing/h2-client.ts'
import {
  END_HEADERS,
  END_STREAM,
  type Fields,
  FRAME,
  FrameClient,
  frame,
  headerBlock,
  uint32,
} from '../../src/testing/h2-frames.ts'
import { type Harness, startHarness } from '../../src/testing/harness.ts'
import { type MeshConnectOptions, meshConnect } from '../../src/testing/mesh-client.ts'
import { startRawOrigin } from '../../src/testing/origin.ts'

const HOST = 'site.example'
const GET: Fields = [
  [':method', 'GET'],
  [':scheme', 'http'],
  [':authority', HOST],
  [':path', '/'],
]

/** Answers every request but those for /never. */
async function start(t: TestContext): Promise<{
  harness: Harness
  mesh: MeshConnectOptions
  attack: () => Promise<FrameClient>
  bystander: () => Promise<void>
}> {
  const origin = await startRawOrigin({
    onRequest: ({ socket }, head) => {
      if (!head.startsWith('GET /never')) socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok')
    },
  })
  const harness = await startHarness({
    resources: { 'all.yaml': `${gatewayYaml()}---\n${siteYaml(HOST, origin.port)}` },
  })
  t.after(async () => {
    await harness.gateway.destroy()
    await origin.close()
  })
  const mesh = {
    port: harness.gateway.port(80),
    svid: await harness.pki.svid('apps/sleep'),
    ca: harness.pki.root,
    alpn: ['h2'],
  }
  const session = h2Over(await meshConnect(mesh))
  return {
    harness,
    mesh,
    attack: async () => new FrameClient(await meshConnect(mesh)),
    /** A caller that was there before the attack. */
    bystander: async () => assert.equal((await h2Request(session, HOST)).status, 200),
  }
}

/** Sends up to `rounds` pieces, as fast as the connection takes them; true: the gateway closed it. */
async function flood(client: FrameClient, rounds: number, piece: (round: number) => Buffer): Promise<boolean> {
  for (let round = 0; round < rounds && !client.closed; round++) {
    if (!client.send(piece(round)) && !client.closed)
      await Promise.race([once(client.socket, 'drain'), client.until(() => false)])
  }
  return client.closed
}

const served = ({ gateway }: Harness) =>
  gateway.boundPorts.find(({ gatewayPort }) => gatewayPort === 80)?.stats.downstream_rq_total ?? 0

test('threat 15: rapid reset: the session is ended long before 10,000 streams, each stream it opened has one line', async (t) => {
  const { harness, attack, bystander } = await start(t)
  await bystander()
  for (const path of ['/never', '/']) {
    const client = await attack()
    const block = headerBlock([...GET.slice(0, 3), [':path', path]])
    const closed = flood(client, 200, (round) =>
      Buffer.concat(
        Array.from({ length: 50 }, (_, i) => {
          const stream = 2 * (round * 50 + i) + 1
          return Buffer.concat([
            frame(FRAME.headers, END_HEADERS | END_STREAM, stream, block),
            frame(FRAME.reset, 0, stream, uint32(constants.NGHTTP2_CANCEL)),
          ])
        }),
      ),
    )
    for (let i = 0; i < 20; i++) {
      const since = performance.now()
      await bystander()
      // The flood is made in this very process, on a machine that may be busy: this bounds a stall, it measures nothing.
      assert.ok(performance.now() - since < 30_000, 'a bystander is not held up')
    }
    await closed
    await client.until(() => false)
    assert.ok(client.closed)
    // nghttp2 says INTERNAL_ERROR where Envoy says ENHANCE_YOUR_CALM; what counts is that it is an error, and the end.
    const goaway = client.frames.find(({ type }) => type === FRAME.goaway)
    assert.notEqual(goaway?.payload.readUInt32BE(4) ?? 0, constants.NGHTTP2_NO_ERROR)
  }
  await bystander()
  const requests = served(harness)
  assert.ok(requests < 5000, `${requests} streams were let in`)
  await eventually('no request is running', () =>
    harness.gateway.boundPorts.every(({ stats }) => stats.downstream_rq_active === 0),
  )
  await harness.stop(requests)
})

test('threat 16: a header block without an end is cut off after few CONTINUATION frames', async (t) => {
  const { harness, attack, bystander } = await start(t)
  for (const payload of [headerBlock([['x-filler', 'y'.repeat(100)]]), Buffer.alloc(0)]) {
    const client = await attack()
    client.send(frame(FRAME.headers, END_STREAM, 1, headerBlock(GET)))
    const closed = flood(client, 20_000, () => frame(FRAME.continuation, 0, 1, payload))
    await bystander()
    await closed
    await client.until(() => false)
    assert.ok(client.closed)
  }
  const lines = await harness.lines(4)
  const cut = lines.filter((line) => line['response_code'] === 0)
  assert.deepEqual(
    cut.map((line) => [line['reason'], line['response_flags']]),
    [
      ['bad_request', 'DPE'],
      ['bad_request', 'DPE'],
    ],
  )
  await harness.stop(4)
})

test('threat 17: frames that break the protocol end the session with one line and leave others alone', async (t) => {
  const { harness, attack, bystander } = await start(t)
  const block = headerBlock(GET)
  const cases: readonly (readonly [what: string, bytes: Buffer])[] = [
    [
      'WINDOW_UPDATE overflow on stream 0',
      Buffer.concat([
        frame(FRAME.windowUpdate, 0, 0, uint32(0x7fffffff)),
        frame(FRAME.windowUpdate, 0, 0, uint32(0x7fffffff)),
      ]),
    ],
    ['WINDOW_UPDATE of 0', frame(FRAME.windowUpdate, 0, 0, uint32(0))],
    ['DATA on stream 0', frame(FRAME.data, 0, 0, Buffer.alloc(1))],
    ['DATA on an idle stream', frame(FRAME.data, 0, 1, Buffer.alloc(1))],
    ['even stream', frame(FRAME.headers, END_HEADERS | END_STREAM, 2, block)],
    [
      'broken header block',
      frame(FRAME.headers, END_HEADERS | END_STREAM, 1, Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0xff])),
    ],
    ['SETTINGS of odd length', frame(FRAME.settings, 0, 0, Buffer.alloc(5))],
    [
      '33 settings in one frame',
      frame(
        FRAME.settings,
        0,
        0,
        Buffer.concat(Array.from({ length: 33 }, () => Buffer.from([0x42, 0x42, 0, 0, 0, 1]))),
      ),
    ],
    ['frame larger than allowed', frame(FRAME.data, 0, 1, Buffer.alloc(20_000))],
    ['CONTINUATION without HEADERS', frame(FRAME.continuation, END_HEADERS, 1, block)],
    ['PUSH_PROMISE from a caller', frame(5, END_HEADERS, 1, Buffer.concat([uint32(2), block]))],
  ]
  for (const [what, bytes] of cases) {
    const client = await attack()
    client.send(bytes)
    await client.until(() => false)
    assert.ok(client.closed, what)
  }
  await bystander()
  const lines = await harness.lines(cases.length + 1)
  for (const [i, [what]] of cases.entries())
    assert.deepEqual([lines[i]?.['reason'], lines[i]?.['response_code']], ['bad_request', 0], what)
  assert.match(
    await harness.gateway.metrics.prometheus(),
    new RegExp(`sallyport_refused_connections_total{reason="bad_request"} ${cases.length}\n`),
  )
  await harness.stop(cases.length + 1)
})

test('threat 17: three hundred sessions ended by a window overflow leave nothing behind', async (t) => {
  const { harness, attack, bystander } = await start(t)
  const overflow = Array.from({ length: 2 }, () => frame(FRAME.windowUpdate, 0, 0, uint32(0x7fffffff)))
  const end = async (sessions: number) => {
    for (let i = 0; i < sessions; i++) {
      const client = await attack()
      client.send(...overflow)
      await client.until(() => false)
    }
    await bystander()
  }
  const heap = () => {
    collectGarbage()
    return process.memoryUsage().heapUsed
  }
  await end(100)
  const baseline = heap()
  await end(300)
  // A session that stays is some 9 KB, and stays for an hour; what is only on its way out goes while we look.
  await eventually('the memory comes back', () => heap() - baseline < 1_500_000)
  await harness.stop(402)
})

test('garbage where HTTP/2 was negotiated is one refused connection', async (t) => {
  const { harness, mesh } = await start(t)
  for (const bytes of [
    'GET / HTTP/1.1\r\nhost: site.example\r\n\r\n',
    'PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n',
    '\0'.repeat(64),
  ]) {
    const socket = await meshConnect(mesh)
    socket.resume()
    socket.write(bytes)
    await once(socket, 'close')
  }
  const lines = await harness.lines(3)
  assert.deepEqual(
    lines.map((line) => [line['reason'], line['response_code']]),
    [
      ['bad_request', 0],
      ['bad_request', 0],
      ['bad_request', 0],
    ],
  )
  await harness.stop(3)
})

test('threat 17: floods of control frames, read or not: the session survives or closes, others are served', async (t) => {
  const { harness, attack, bystander } = await start(t)
  const kinds: readonly (readonly [what: string, piece: (round: number) => Buffer])[] = [
    ['SETTINGS', () => frame(FRAME.settings, 0, 0)],
    ['PING', () => frame(FRAME.ping, 0, 0, Buffer.alloc(8))],
    ['PRIORITY', (round) => frame(FRAME.priority, 0, 2 * round + 1, Buffer.alloc(5))],
    ['empty DATA', () => frame(FRAME.data, 0, 1)],
    ['WINDOW_UPDATE', () => frame(FRAME.windowUpdate, 0, 1, uint32(1))],
    ['RST_STREAM of nothing', () => frame(FRAME.reset, 0, 1, uint32(8))],
  ]
  for (const [what, piece] of kinds) {
    for (const reads of [true, false]) {
      const client = await attack()
      const post = headerBlock([[':method', 'POST'], ...GET.slice(1, 3), [':path', '/never']])
      client.send(frame(FRAME.headers, END_HEADERS, 1, post))
      if (!reads) client.socket.pause()
      const ended = flood(client, 100, (round) =>
        Buffer.concat(Array.from({ length: 100 }, (_, i) => piece(round * 100 + i))),
      )
      await bystander()
      // A writer whom nobody reads may never get done; that is the gateway's back-pressure at work.
      const closed = await Promise.race([
        ended,
        new Promise<boolean>((resolve) => void setTimeout(resolve, 1000, false).unref()),
      ])
      if (reads && !closed) {
        client.request(3, GET)
        const end = await client.endOf(3)
        assert.ok(end === null || end.type === FRAME.data, what)
      }
      client.socket.destroy()
    }
  }
  await bystander()
  await eventually('no request is running', () =>
    harness.gateway.boundPorts.every(({ stats }) => stats.downstream_rq_active === 0),
  )
  await harness.stop(served(harness))
})
