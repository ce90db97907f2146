/** The wire's side towards callers, over real sockets, with an exchange that does what each test says. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import fc from 'fast-check'
import { eventually } from '../../testing/eventually.ts'
import { plainConnect, rawExchange } from '../../testing/mesh-client.ts'
import type { Downstream } from '../downstream.ts'
import type { WireRequest } from './request.ts'
import { createWireServer } from './server.ts'

const LIMITS = {
  engine: 'wire',
  maxHeaderBytes: 8_192,
  maxHeaders: 100,
  headersTimeoutMs: 60_000,
  idleTimeoutMs: 60_000,
  maxConnections: 0,
} as const

type World = {
  readonly port: number
  readonly server: ReturnType<typeof createWireServer>
  readonly accepted: Socket[]
  /** `complete` of each request's end, in order. */
  readonly ends: boolean[]
  readonly malformed: (readonly [kind: string | null, code: string])[]
  readonly broken: string[]
}

async function world(
  t: TestContext,
  onRequest: (request: WireRequest) => void,
  limits: Partial<typeof LIMITS | { headersTimeoutMs: number; idleTimeoutMs: number }> = {},
): Promise<World> {
  const made: Omit<World, 'port' | 'server'> = { accepted: [], ends: [], malformed: [], broken: [] }
  const server = createWireServer(
    { ...LIMITS, ...limits },
    {
      request: (_socket, downstream: Downstream) => {
        const request = downstream as WireRequest
        onRequest(request)
        return {
          onClose: (complete) => void made.ends.push(complete),
          onBodyMalformed: (code) => {
            made.broken.push(code)
            if (!request.responded) request.reply(400, ['content-length', '0'], '', true)
            else request.reset()
          },
        }
      },
      malformed: (socket, kind, code) => {
        made.malformed.push([kind, code])
        socket.end()
      },
    },
  )
  const listener = createServer((socket) => {
    made.accepted.push(socket)
    server.accept(socket)
  })
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  t.after(() => {
    for (const socket of made.accepted) socket.destroy()
    listener.close()
    server.close()
  })
  return { ...made, server, port: (listener.address() as AddressInfo).port }
}

const count = (text: string, part: string) => text.split(part).length - 1
const ok = (request: WireRequest) => request.reply(200, ['content-length', '2'], 'ok', false)
const NOBODY = { resume: () => {} }
const bodyOf = (text: string) => text.slice(text.indexOf('\r\n\r\n') + 4)

test('answers without a stream: the giver has its piece back when write returns', async (t) => {
  const { port, ends } = await world(t, (request) => {
    const counted = request.target === '/counted'
    const sink = request.startSink(200, counted ? ['content-length', '10'] : [], false, NOBODY)
    const piece = Buffer.from('hello')
    sink.write(piece)
    piece.fill('x')
    sink.write(Buffer.alloc(0))
    sink.write(Buffer.from('world'))
    sink.end(null)
  })
  const socket = await plainConnect(port)
  const counted = await rawExchange(socket, 'GET /counted HTTP/1.1\r\n\r\n', (text) => text.endsWith('world'))
  assert.match(counted, /^HTTP\/1\.1 200 OK\r\ncontent-length: 10\r\ndate: [^\r]*\r\n\r\nhelloworld$/)
  const chunked = await rawExchange(socket, 'GET /chunked HTTP/1.1\r\n\r\n', (text) => text.endsWith('\r\n0\r\n\r\n'))
  assert.match(chunked, /\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n$/)
  assert.deepEqual(ends, [true, true])
})

test('a head does not wait for a body that takes its time', async (t) => {
  const sinks: (() => void)[] = []
  const { port } = await world(t, (request) => {
    const sink = request.startSink(200, [], false, NOBODY)
    sinks.push(() => {
      sink.write(Buffer.from('late'))
      sink.end(null)
    })
  })
  const socket = await plainConnect(port)
  const first = await rawExchange(socket, 'GET / HTTP/1.1\r\n\r\n', (text) => text.endsWith('\r\n\r\n'))
  assert.match(first, /^HTTP\/1\.1 200 OK\r\n/)
  const rest = rawExchange(socket, '', (text) => text.endsWith('0\r\n\r\n'))
  sinks[0]?.()
  assert.equal(await rest, '4\r\nlate\r\n0\r\n\r\n')
})

test('a body that is longer or shorter than its length never ends like a whole answer', async (t) => {
  const { port, ends } = await world(t, (request) => {
    const sink = request.startSink(200, ['content-length', '10'], false, NOBODY)
    sink.write(Buffer.from('hello'))
    if (request.target === '/long') sink.write(Buffer.from('worlds'))
    if (request.target === '/broken') sink.fail(new Error('upstream died'))
    sink.end(null)
  })
  for (const [index, path] of ['/long', '/short', '/broken'].entries()) {
    const text = await rawExchange(await plainConnect(port), `GET ${path} HTTP/1.1\r\n\r\nGET /short HTTP/1.1\r\n\r\n`)
    assert.ok(bodyOf(text).length <= 5, text)
    assert.equal(ends.length, index + 1, 'nothing behind it was a request')
  }
  assert.deepEqual(ends, [false, false, false])
})

test('a body given to HEAD, 204 and 304 is dropped; answers of our own that do not add up are cut', async (t) => {
  const { port, ends } = await world(t, (request) => {
    if (request.method === 'HEAD') request.reply(200, ['content-length', '2'], 'ok', false)
    else if (request.target === '/wrong') request.reply(200, ['content-length', '3'], 'ok', false)
    else request.start(Number(request.target.slice(1)), ['x', 'y'], false).end('body')
  })
  const socket = await plainConnect(port)
  const bytes = 'HEAD / HTTP/1.1\r\n\r\nGET /204 HTTP/1.1\r\n\r\nGET /304 HTTP/1.1\r\n\r\nGET /wrong HTTP/1.1\r\n\r\n'
  const text = await rawExchange(socket, bytes)
  assert.equal(count(text, 'HTTP/1.1 '), 4)
  assert.equal(count(text, 'body'), 0)
  assert.deepEqual(ends, [true, true, true, false])
})

test('back-pressure: a caller who does not read stops the flow, and it goes on when there is room', async (t) => {
  const piece = Buffer.alloc(65_536, 'x')
  const total = 400
  let given = 0
  let resumed = 0
  const { port, ends } = await world(t, (request) => {
    const more = () => {
      while (given < total) {
        given += 1
        if (!sink.write(piece)) return
      }
      sink.end(null)
    }
    const sink = request.startSink(200, ['content-length', String(total * piece.length)], false, {
      resume: () => {
        resumed += 1
        more()
      },
    })
    more()
  })
  const socket = await plainConnect(port)
  socket.write('GET / HTTP/1.1\r\n\r\n')
  await once(socket, 'readable')
  assert.ok(given < total, 'it was stopped')
  const text = await rawExchange(socket, '', (all) => all.length > total * piece.length)
  assert.equal(bodyOf(text).length, total * piece.length)
  assert.ok(resumed > 0)
  await eventually('its end is told', () => ends.length === 1)
})

test('requests sent ahead wait, and past a bound the caller does', async (t) => {
  const waiting: WireRequest[] = []
  const { port, accepted, ends } = await world(t, (request) => {
    if (request.target === '/wait') waiting.push(request)
    else ok(request)
  })
  const socket = await plainConnect(port)
  const one = `GET /x HTTP/1.1\r\nx: ${'y'.repeat(1_000)}\r\n\r\n`
  const all = rawExchange(
    socket,
    `GET /wait HTTP/1.1\r\n\r\n${one.repeat(8_000)}`,
    (text) => count(text, 'HTTP/1.1 ') === 8_001,
  )
  await eventually('it is stopped', () => accepted[0]?.isPaused() === true)
  assert.ok((accepted[0]?.bytesRead ?? 0) < 262_144, `${accepted[0]?.bytesRead}`)
  assert.equal(waiting.length, 1)
  ok(waiting[0] as WireRequest)
  assert.equal(count(await all, 'HTTP/1.1 200'), 8_001)
  assert.equal(ends.length, 8_001)
})

test('a body that nobody reads stops the caller; destroyed, it is thrown away up to its end', async (t) => {
  const requests: WireRequest[] = []
  const { port, accepted, ends } = await world(t, (request) => void requests.push(request))
  const socket = await plainConnect(port)
  const size = 8_000_000
  const all = rawExchange(socket, `POST / HTTP/1.1\r\ncontent-length: ${size}\r\n\r\n${'x'.repeat(size)}`, (text) =>
    text.endsWith('ok'),
  )
  await eventually('it is stopped', () => accepted[0]?.isPaused() === true)
  assert.ok((accepted[0]?.bytesRead ?? 0) < 262_144)
  const request = requests[0] as WireRequest
  request.body?.destroy()
  await eventually('all of it has come', () => (accepted[0]?.bytesRead ?? 0) > size)
  ok(request)
  assert.match(await all, /^HTTP\/1\.1 200 OK\r\n/)
  assert.doesNotMatch(await all, /connection: close/)
  await eventually('its end is told', () => ends.length === 1)
  socket.write('GET / HTTP/1.1\r\n\r\n')
  await eventually('the connection stayed in step', () => requests.length === 2)
})

test('a refusal given at once keeps the connection when the body is there, and says close when it is not', async (t) => {
  const { port } = await world(t, (request) => request.reply(403, ['content-length', '0'], '', false))
  const socket = await plainConnect(port)
  const post = (length: number) => `POST / HTTP/1.1\r\ncontent-length: ${length}\r\n\r\nhello`
  const kept = await rawExchange(socket, post(5), (text) => text.endsWith('\r\n\r\n'))
  assert.doesNotMatch(kept, /connection: close/)
  const closed = await rawExchange(socket, post(6))
  assert.match(closed, /\r\nconnection: close\r\n/)
})

test('what comes with the end of a caller is told once and answered, and what comes with a reset is told once', async (t) => {
  let requests = 0
  const { port, ends } = await world(t, (request) => {
    requests += 1
    ok(request)
  })
  const both = 'GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n'
  const half = await plainConnect(port)
  const answers = rawExchange(half, '')
  half.end('GET /a HTTP/1.1\r\n\r\n')
  assert.match(await answers, /^HTTP\/1\.1 200 OK\r\n[^]*ok$/)
  assert.deepEqual([requests, ends], [1, [true]])
  for (let i = 0; i < 20; i++) {
    const before = requests
    const gone = await plainConnect(port)
    gone.on('error', () => {})
    gone.write(both, () => gone.resetAndDestroy())
    await once(gone, 'close')
    // It may have been read before the reset, or not: what was begun has ended, each once.
    await eventually('each has its end', () => ends.length === requests)
    assert.ok(requests - before <= 2, `${requests - before}`)
  }
})

test('time-outs: no request, half a head: refused when the time for heads is over', async (t) => {
  const { port, malformed } = await world(t, ok, { headersTimeoutMs: 1000 })
  const began = performance.now()
  await rawExchange(await plainConnect(port), '')
  await rawExchange(await plainConnect(port), 'GET / HT')
  const behind = await rawExchange(await plainConnect(port), 'GET / HTTP/1.1\r\n\r\nGET /')
  assert.ok(performance.now() - began >= 3000 - 30)
  assert.equal(count(behind, 'HTTP/1.1 '), 1)
  const timeout = ['header_timeout', 'ERR_HTTP_REQUEST_TIMEOUT']
  assert.deepEqual(malformed, [timeout, timeout, timeout])
})

test('time-outs: a connection between requests ends when it has been idle for long enough, and nothing is said', async (t) => {
  const { port, malformed } = await world(t, ok, { idleTimeoutMs: 300 })
  const began = performance.now()
  const text = await rawExchange(await plainConnect(port), 'GET / HTTP/1.1\r\n\r\n')
  assert.ok(performance.now() - began >= 300 - 10)
  assert.equal(count(text, 'HTTP/1.1 '), 1)
  assert.deepEqual(malformed, [])
})

test('closeIdle ends what waits for a request, not what runs or has begun', async (t) => {
  const running: WireRequest[] = []
  const { port, server, accepted } = await world(t, (request) => {
    if (request.target === '/run') running.push(request)
    else ok(request)
  })
  const fresh = await plainConnect(port)
  const used = await plainConnect(port)
  const busy = await plainConnect(port)
  const begun = await plainConnect(port)
  await rawExchange(used, 'GET / HTTP/1.1\r\n\r\n', (text) => text.endsWith('ok'))
  busy.write('GET /run HTTP/1.1\r\n\r\n')
  begun.write('GET / HTTP')
  await eventually(
    'everything has arrived',
    () => running.length === 1 && accepted.every((each) => each === accepted[0] || each.bytesRead > 0),
  )
  const closed = Promise.all([once(fresh.resume(), 'close'), once(used, 'close')])
  server.closeIdle()
  await closed
  const answers = [
    rawExchange(begun, '/1.1\r\n\r\n', (text) => text.endsWith('ok')),
    rawExchange(busy, '', (text) => text.endsWith('ok')),
  ]
  ok(running[0] as WireRequest)
  for (const text of await Promise.all(answers)) assert.match(text, /^HTTP\/1\.1 200 OK/)
})

const MALFORMED: Readonly<Record<string, readonly [kind: string, code: string]>> = {
  'GET / HTTP/1.1\nhost: a\n\n': ['bad_request', 'INVALID_LINE_END'],
  'GET / HTTP/1.1\r\nhost: a\n': ['bad_request', 'INVALID_LINE_END'],
  '\r\n\r\nGET / HTTP/1.1\r\n\r\n': ['bad_request', 'INVALID_METHOD'],
  'POST / HTTP/1.1\r\ncontent-length: 005\r\n\r\nhello': ['bad_request', 'INVALID_FRAMING'],
  'POST / HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n': [
    'bad_request',
    'INVALID_FRAMING',
  ],
  [`GET / HTTP/1.1\r\nx: ${'y'.repeat(9_000)}`]: ['headers_too_large', 'HEADERS_OVERFLOW'],
  [`GET / HTTP/1.1\r\nx: ${'y'.repeat(9_000)}\r\n\r\n`]: ['headers_too_large', 'HEADERS_OVERFLOW'],
  'CONNECT a.example:443 HTTP/1.1\r\n\r\n': ['connect_refused', 'a.example:443'],
}

test('what is no request is told by name, once, and nothing behind it is read', async (t) => {
  let requests = 0
  const { port, malformed } = await world(t, () => void (requests += 1))
  for (const [bytes, expected] of Object.entries(MALFORMED)) {
    for (const piecemeal of [false, true]) {
      const socket = await plainConnect(port)
      const all = Buffer.from(`${bytes}GET /smuggled HTTP/1.1\r\n\r\n`, 'latin1')
      const pieces = piecemeal ? [...all].map((byte) => Buffer.of(byte)) : [all]
      for (const piece of pieces.slice(0, -1))
        if (socket.writable) await new Promise((done) => socket.write(piece, done))
      await rawExchange(socket, pieces.at(-1) as Buffer)
      assert.deepEqual(malformed.splice(0), [expected], JSON.stringify(bytes.slice(0, 60)))
    }
  }
  assert.equal(requests, 0)
})

test('a body that breaks in the middle is told once; behind a finished answer it only ends the connection', async (t) => {
  const { port, broken, ends } = await world(t, (request) => {
    if (request.target === '/early') ok(request)
  })
  const chunked = (path: string) => `POST ${path} HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n`
  assert.match(await rawExchange(await plainConnect(port), `${chunked('/late')}zz\r\nzz`), /^HTTP\/1\.1 400 /)
  assert.deepEqual([broken, ends], [['INVALID_CHUNK_SIZE'], [true]])
  const early = await rawExchange(await plainConnect(port), `${chunked('/early')}zz\r\nzz`)
  assert.match(early, /^HTTP\/1\.1 200 [^]*\r\nconnection: close\r\n/)
  assert.deepEqual([broken, ends], [['INVALID_CHUNK_SIZE'], [true, true]])
})

type Sent = {
  readonly method: string
  readonly target: string
  readonly body: string
  readonly framing: 'none' | 'counted' | 'chunked'
  readonly blank: boolean
}
const sent: fc.Arbitrary<Sent> = fc.record({
  method: fc.constantFrom('GET', 'POST', 'DELETE'),
  target: fc.constantFrom('/', '/a?b', '/c'),
  body: fc.string({ unit: fc.constantFrom('a', '\r', '\n', '0', ' '), maxLength: 60 }),
  framing: fc.constantFrom('none', 'counted', 'chunked'),
  blank: fc.boolean(),
})

function bytesOf({ method, target, body, framing, blank }: Sent): string {
  const head = `${blank ? '\r\n' : ''}${method} ${target} HTTP/1.1\r\nhost: a\r\n`
  if (framing === 'none') return `${head}\r\n`
  if (framing === 'counted') return `${head}content-length: ${body.length}\r\n\r\n${body}`
  const chunks = body.match(/[^]{1,7}/g) ?? []
  return `${head}transfer-encoding: chunked\r\n\r\n${chunks.map((each) => `${each.length.toString(16)}\r\n${each}\r\n`).join('')}0\r\n\r\n`
}

test('however the bytes are cut, the same requests come out, each with its body, one after the other', async (t) => {
  const seen: (readonly [string, string, string])[] = []
  const { port } = await world(t, (request) => {
    const { body, method, target } = request
    let text = ''
    const answer = () => {
      seen.push([method, target, text])
      request.start(200, [], false).end('ok')
    }
    if (body === null) return answer()
    body.setEncoding('latin1').on('data', (piece: string) => (text += piece))
    body.once('end', answer)
  })
  await fc.assert(
    fc.asyncProperty(
      fc.array(sent, { minLength: 1, maxLength: 5 }),
      fc.array(fc.nat(600), { maxLength: 8 }),
      async (list, cuts) => {
        const bytes = list.map(bytesOf).join('')
        const socket = await plainConnect(port)
        const ends = [...new Set(cuts.filter((cut) => cut > 0 && cut < bytes.length))].toSorted((a, b) => a - b)
        const done = rawExchange(socket, '', (text) => count(text, '2\r\nok\r\n0\r\n\r\n') === list.length)
        let from = 0
        for (const end of [...ends, bytes.length]) {
          await new Promise((written) => socket.write(bytes.slice(from, end), 'latin1', written))
          from = end
        }
        await done
        socket.destroy()
        assert.deepEqual(
          seen.splice(0),
          list.map(({ method, target, body, framing }) => [method, target, framing === 'none' ? '' : body]),
        )
      },
    ),
    { numRuns: 150 },
  )
})
