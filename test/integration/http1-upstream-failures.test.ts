/**
 * Origins that fail (threats 7, 8, 13; behaviour §10.3): Envoy's statuses, bodies and flags, an answer that was cut never ends
 * cleanly, and no connection is used again that could be out of step. One line each.
 */
import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { type Answer, rawExchange, request } from '../../src/testing/mesh-client.ts'
import { MISBEHAVIOURS, type RawOrigin, type RecordedConnection, startRawOrigin } from '../../src/testing/origin.ts'
import { test } from './engines.ts'
import { HOST, type Site, startSite } from './site.ts'

const H = `Host: ${HOST}\r\n`
const GET = `GET / HTTP/1.1\r\n${H}\r\n`
const RESET = 'upstream connect error or disconnect/reset before headers. reset reason: '
const count = (text: string, part: string) => text.split(part).length - 1

async function once(site: Site, options: Parameters<typeof request>[2] = {}): Promise<Answer> {
  const socket = await site.mesh()
  try {
    return await request(socket, HOST, options)
  } finally {
    socket.destroy()
  }
}

async function line(site: Site, index = 0): Promise<readonly unknown[]> {
  const found = (await site.harness.lines(index + 1))[index]
  return [found?.['response_code'], found?.['response_flags'], found?.['response_code_details'], found?.['reason']]
}

const ENDS = {
  FIN: ({ socket }: RecordedConnection) => void socket.end(),
  RST: (connection: RecordedConnection) => connection.reset(),
} as const

const CUT_BODIES = {
  counted: 'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhello',
  chunked: 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n',
  'in a chunk': 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\nhello',
  'until close': 'HTTP/1.1 200 OK\r\n\r\nhello',
} as const

for (const [ending, end] of Object.entries(ENDS)) {
  test(`threat 8: ${ending} in the middle of an answer: the caller sees a cut`, async (t) => {
    for (const [framing, bytes] of Object.entries(CUT_BODIES)) {
      await t.test(framing, async (t2) => {
        const origin = await startRawOrigin({ onRequest: ({ socket }) => socket.write(bytes) })
        t2.after(() => origin.close())
        const site = await startSite(t2, origin.port)
        const socket = await site.mesh()
        let endedAt = 0
        const answer = await rawExchange(socket, GET, (text) => {
          const connection = origin.connections[0]
          if (endedAt === 0 && connection !== undefined && text.includes('hello')) {
            endedAt = performance.now()
            end(connection)
          }
          return text.endsWith('\r\n0\r\n\r\n')
        })
        assert.ok(performance.now() - endedAt < 10_000, 'no hang')
        assert.match(answer, /^HTTP\/1\.1 200 OK\r\n/)
        // A body that lasts until the connection is closed ends by FIN and no other way.
        const whole = framing === 'until close' && ending === 'FIN'
        assert.equal(answer.endsWith('\r\n0\r\n\r\n'), whole, 'only a whole answer has an end')
        socket.destroy()
        const uc = [200, 'UC', 'upstream_reset_after_response_started{connection_termination}', null]
        assert.deepEqual(await line(site), whole ? [200, '-', 'via_upstream', null] : uc)
        await site.quiet()
        await site.harness.stop(1)
      })
    }
  })

  for (const [moment, bytes] of Object.entries({
    'before an answer': '',
    'in the status line': 'HTTP/1.',
    'in the head': 'HTTP/1.1 200 OK\r\ncontent-',
  })) {
    test(`threat 8: ${ending} ${moment}: 503 UC`, async (t) => {
      const origin = await startRawOrigin({
        onRequest: (connection) =>
          bytes === '' ? end(connection) : connection.socket.write(bytes, () => end(connection)),
      })
      t.after(() => origin.close())
      const site = await startSite(t, origin.port)
      const answer = await once(site)
      assert.deepEqual(
        [answer.status, answer.body, answer.headers['content-type'], answer.headers['x-sallyport-reason']],
        [503, `${RESET}connection termination`, 'text/plain', undefined],
      )
      assert.deepEqual(await line(site), [
        503,
        'UC',
        'upstream_reset_before_response_started{connection_termination}',
        null,
      ])
      assert.equal(origin.connections.length, 1, 'a request that may have been understood is not repeated')
      await site.quiet()
      await site.harness.stop(1)
    })
  }
}

test('nobody listens: 503 UF,URX with the words of Envoy, after the two retries of Istio', async (t) => {
  const gone = await startRawOrigin()
  const site = await startSite(t, gone.port)
  await gone.close()
  const answer = await once(site, { method: 'POST', body: 'hello' })
  const reason = 'delayed connect error: Connection refused'
  assert.deepEqual(
    [answer.status, answer.body],
    [
      503,
      `${RESET.replace('reset reason', 'retried and the latest reset reason')}remote connection failure, transport failure reason: ${reason}`,
    ],
  )
  const [found] = await site.harness.lines(1)
  assert.deepEqual(
    [
      'response_code',
      'response_flags',
      'response_code_details',
      'upstream_transport_failure_reason',
      'upstream_cluster',
      'reason',
    ].map((key) => found?.[key]),
    [
      503,
      'UF,URX',
      'upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}',
      reason,
      `outbound|80||${HOST}`,
      null,
    ],
  )
  await site.quiet()
  await site.harness.stop(1)
})

async function noAnswers(t: TestContext, answers: Readonly<Record<string, string>>): Promise<void> {
  for (const [name, bytes] of Object.entries(answers)) {
    await t.test(name, async (t2) => {
      const good = 'HTTP/1.1 204 No Content\r\n\r\n'
      const origin = await startRawOrigin({
        onRequest: ({ socket }) => socket.write(origin.connections.length === 1 ? bytes : good),
      })
      t2.after(() => origin.close())
      const site = await startSite(t2, origin.port)
      const socket = await site.mesh()
      const answer = await request(socket, HOST)
      assert.deepEqual([answer.status, answer.body], [502, `${RESET}protocol error`])
      assert.equal((await request(socket, HOST)).status, 204)
      socket.destroy()
      assert.equal(origin.connections.length, 2)
      await origin.connections[0]?.closed
      const [code, flags, details] = await line(site)
      assert.deepEqual([code, flags], [502, 'UPE'])
      assert.match(String(details), /^upstream_reset_before_response_started\{protocol_error\|/)
      await site.harness.stop(2)
    })
  }
}

const { switchingProtocols, switchingSilently, ...malformed } = MISBEHAVIOURS

test('threat 7: answers that are no answers: 502 UPE, and the connection is not used again', (t) =>
  noAnswers(t, malformed))

test('threat 13: 101 that nobody asked for: 502 UPE, and no tunnel', (t) =>
  noAnswers(t, { switchingProtocols, switchingSilently }))

/** More than was asked for: the caller gets the one answer that belongs to its request. */
const SURPLUS = {
  'a second answer':
    'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfirstHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecond',
  'bytes behind the body': 'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfirstGARBAGE',
  'a body on 304': 'HTTP/1.1 304 Not Modified\r\ncontent-length: 6\r\n\r\nsecond',
  'a body on 204': 'HTTP/1.1 204 No Content\r\ncontent-length: 6\r\n\r\nsecond',
  'HTTP/1.0 that promises to keep the connection, and goes on':
    'HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 5\r\n\r\nfirstHTTP/1.0 200 OK\r\n\r\nsecond',
  'interim answers first':
    'HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfirst',
} as const

test('threat 7: more than one answer to one request', async (t) => {
  for (const [name, bytes] of Object.entries(SURPLUS)) {
    await t.test(name, async (t2) => {
      const next = 'HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nnext'
      let requests = 0
      const origin = await startRawOrigin({ onRequest: ({ socket }) => socket.write(requests++ === 0 ? bytes : next) })
      t2.after(() => origin.close())
      const site = await startSite(t2, origin.port)
      const socket = await site.mesh()
      const text = await rawExchange(socket, GET + GET, (answer) => answer.endsWith('next'))
      socket.destroy()
      assert.equal(count(text, 'HTTP/1.1 '), 2)
      if (name !== 'interim answers first')
        assert.equal(origin.connections.length, 2, 'a connection out of step is not pooled')
      assert.ok(!text.includes('second') && !text.includes('GARBAGE') && !text.includes('Early'), text)
      await site.harness.stop(2)
    })
  }
})

test('threat 7: a flood of interim answers ends', async (t) => {
  const origin = await startRawOrigin({
    onRequest: ({ socket }) => socket.write('HTTP/1.1 103 Early Hints\r\n\r\n'.repeat(1000)),
  })
  t.after(() => origin.close())
  const site = await startSite(t, origin.port)
  assert.equal((await once(site)).status, 502)
  await site.quiet()
  await site.harness.stop(1)
})

test('threat 7: HEAD: a length and no body', async (t) => {
  const origin = await startRawOrigin({
    onRequest: ({ socket }, head) =>
      socket.write(`HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n${head.startsWith('HEAD') ? '' : 'hello'}`),
  })
  t.after(() => origin.close())
  const site = await startSite(t, origin.port)
  const socket = await site.mesh()
  const text = await rawExchange(socket, `HEAD / HTTP/1.1\r\n${H}\r\n${GET}`, (answer) => answer.endsWith('hello'))
  socket.destroy()
  assert.equal(count(text, 'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n'), 2)
  await site.harness.stop(2)
})

/** The first request is answered; the second finds its connection dead. */
function dyingOrigin(dies: (connection: RecordedConnection) => void): Promise<RawOrigin> {
  const ok = 'HTTP/1.1 204 No Content\r\n\r\n'
  let requests = 0
  return startRawOrigin({
    onRequest: (connection) => {
      requests += 1
      if (requests === 2) dies(connection)
      else connection.socket.write(ok)
    },
  })
}

for (const [ending, end] of Object.entries(ENDS)) {
  test(`a connection that was idle dies by ${ending} under the next request: GET is sent again, POST and a started answer are not`, async (t) => {
    const rows = [
      { options: {}, dies: end, status: 204, connections: 2 },
      { options: { method: 'POST', body: 'x' }, dies: end, status: 503, connections: 1 },
      { options: { method: 'POST' }, dies: end, status: 503, connections: 1 },
      {
        options: {},
        dies: (connection: RecordedConnection) => void connection.socket.write('HTTP/1.1 2', () => end(connection)),
        status: 503,
        connections: 1,
      },
    ]
    for (const [index, { options, dies, status, connections }] of rows.entries()) {
      await t.test(`${index}: ${status}`, async (t2) => {
        const origin = await dyingOrigin(dies)
        t2.after(() => origin.close())
        const site = await startSite(t2, origin.port)
        assert.equal((await once(site)).status, 204)
        const second = await once(site, options)
        assert.deepEqual([second.status, origin.connections.length], [status, connections])
        assert.deepEqual((await line(site, 1)).slice(0, 2), status === 204 ? [204, '-'] : [503, 'UC'])
        await site.harness.stop(2)
      })
    }
  })
}

test('threat 7: a connection that the origin closed while idle is not used', async (t) => {
  const origin = await startRawOrigin({ onRequest: ({ socket }) => socket.write('HTTP/1.1 204 No Content\r\n\r\n') })
  t.after(() => origin.close())
  const site = await startSite(t, origin.port)
  assert.equal((await once(site)).status, 204)
  origin.connections[0]?.socket.end()
  await origin.connections[0]?.closed
  assert.equal((await once(site, { method: 'POST', body: 'x' })).status, 204)
  assert.equal(origin.connections.length, 2)
  await site.harness.stop(2)
})
