/** However an answer is cut into pieces, it is the same answer; whatever else comes is a fault, never an exception. */
import assert from 'node:assert/strict'
import { Duplex } from 'node:stream'
import { test } from 'node:test'
import fc from 'fast-check'
import { readAnswer } from './answer-reader.ts'

const MAX = 4_000

type Read =
  | {
      readonly kind: 'answer'
      readonly status: number
      readonly fields: readonly string[]
      readonly body: string | null
    }
  | { readonly kind: 'switched'; readonly status: number; readonly left: string }
  | { readonly kind: 'fault' }
  | { readonly kind: 'nothing' }

/** Feeds `text` in pieces that end at `cuts`, one in each turn of the event loop, then FIN. `body` null: it broke off. */
async function read(text: string, cuts: readonly number[] = []): Promise<Read> {
  const whole = Buffer.from(text, 'latin1')
  const socket = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done(), autoDestroy: false })
  const { promise, resolve } = Promise.withResolvers<Read>()
  readAnswer(socket, MAX, {
    onAnswer: (head, body) => {
      const parts: Buffer[] = []
      const end = (complete: boolean) =>
        resolve({
          kind: 'answer',
          status: head.status,
          fields: head.fields,
          body: complete ? Buffer.concat(parts).toString('latin1') : null,
        })
      body.on('data', (chunk: Buffer) => parts.push(chunk))
      body.once('end', () => end(true))
      body.once('error', () => end(false))
    },
    onSwitched: (head) => {
      let left = ''
      socket.on('data', (chunk: Buffer) => (left += chunk.toString('latin1')))
      socket.once('end', () => resolve({ kind: 'switched', status: head.status, left }))
    },
    onFault: () => resolve({ kind: 'fault' }),
  })
  socket.once('end', () => setImmediate(() => resolve({ kind: 'nothing' })))
  const ends = [...new Set(cuts.filter((cut) => cut > 0 && cut < whole.length))].sort((a, b) => a - b)
  let from = 0
  for (const to of [...ends, whole.length]) {
    if (to > from) socket.push(Buffer.from(whole.subarray(from, to)))
    from = to
    await new Promise((turn) => void setImmediate(turn))
  }
  socket.push(null)
  return promise
}

const FIELDS = ['content-length', '5']
const CASES: readonly (readonly [name: string, text: string, expected: Read])[] = [
  [
    'a length, and what follows is not looked at',
    'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200',
    { kind: 'answer', status: 200, fields: FIELDS, body: 'hello' },
  ],
  [
    'chunks',
    'HTTP/1.1 403 \r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nhe\r\n3\r\nllo\r\n0\r\nx: y\r\n\r\nmore',
    { kind: 'answer', status: 403, fields: ['transfer-encoding', 'chunked'], body: 'hello' },
  ],
  ['until close', 'HTTP/1.1 200 OK\r\n\r\nhello', { kind: 'answer', status: 200, fields: [], body: 'hello' }],
  [
    'a body on 304',
    'HTTP/1.1 304 x\r\ncontent-length: 5\r\n\r\nhello',
    { kind: 'answer', status: 304, fields: FIELDS, body: '' },
  ],
  [
    'interim answers',
    'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 x\r\nlink: y\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello',
    { kind: 'answer', status: 200, fields: FIELDS, body: 'hello' },
  ],
  [
    'a change of protocol',
    'HTTP/1.1 101 x\r\nUpgrade: y\r\n\r\nany bytes\r\n\r\n',
    { kind: 'switched', status: 101, left: 'any bytes\r\n\r\n' },
  ],
  [
    'cut in the body',
    'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhell',
    { kind: 'answer', status: 200, fields: FIELDS, body: null },
  ],
  [
    'cut in a chunk',
    'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhell',
    { kind: 'answer', status: 200, fields: ['transfer-encoding', 'chunked'], body: null },
  ],
  [
    'a broken chunk',
    'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\n',
    { kind: 'answer', status: 200, fields: ['transfer-encoding', 'chunked'], body: null },
  ],
  [
    'two framings',
    'HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\nhello',
    { kind: 'answer', status: 200, fields: [...FIELDS, 'transfer-encoding', 'chunked'], body: null },
  ],
  ['cut in the head', 'HTTP/1.1 200 OK\r\ncontent-', { kind: 'nothing' }],
  ['silence', '', { kind: 'nothing' }],
  ['no HTTP', 'SSH-2.0-OpenSSH\r\n\r\n', { kind: 'fault' }],
  ['a bare LF', 'HTTP/1.1 200 OK\nx: y', { kind: 'fault' }],
  ['a bare CR', 'HTTP/1.1 200 OK\rx: y', { kind: 'fault' }],
  ['a head of its limit and one more', `HTTP/1.1 200 OK\r\nx: ${'y'.repeat(MAX - 23)}\r\n\r\n`, { kind: 'fault' }],
  ['a head without end', `HTTP/1.1 200 OK\r\nx: ${'y'.repeat(MAX)}`, { kind: 'fault' }],
  ['interim, of HTTP/1.0', 'HTTP/1.0 102 x\r\n\r\nHTTP/1.1 204 x\r\n\r\n', { kind: 'fault' }],
  ['interim, and closes', 'HTTP/1.1 103 x\r\nconnection: a, Close\r\n\r\nHTTP/1.1 204 x\r\n\r\n', { kind: 'fault' }],
  ['too many interim answers', 'HTTP/1.1 100 x\r\n\r\n'.repeat(33), { kind: 'fault' }],
]

for (const [name, text, expected] of CASES)
  test(`${name}: the same, whole and byte by byte`, async () => {
    assert.deepEqual(await read(text), expected)
    const every = Array.from({ length: Math.min(text.length, 200) }, (_, i) => i)
    assert.deepEqual(await read(text, every), expected)
  })

test('a head of exactly its limit is read', async () => {
  const answer = await read(`HTTP/1.1 204 OK\r\nx: ${'y'.repeat(MAX - 24)}\r\n\r\n`)
  assert.equal(answer.kind, 'answer')
})

test('what is well formed is the same answer however it is cut', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...CASES),
      fc.array(fc.nat(300), { maxLength: 12 }),
      async ([, text, expected], cuts) => {
        assert.deepEqual(await read(text, cuts), expected)
      },
    ),
    { numRuns: 300 },
  )
})

test('random pieces of answers: no exception, and whole and cut agree', async () => {
  const piece = fc.constantFrom(
    ...[
      'HTTP/1.1 ',
      '101 x',
      '200 OK',
      '100 x',
      '\r\n',
      '\r\n\r\n',
      '\n',
      '\r',
      ' ',
      ':',
      'x: y\r\n',
      'content-length: 3',
    ],
    ...['transfer-encoding: chunked', '3\r\nabc\r\n', '0\r\n\r\n', 'abc', '\0', '\xff'],
  )
  await fc.assert(
    fc.asyncProperty(
      fc.array(piece, { maxLength: 14 }),
      fc.array(fc.nat(80), { maxLength: 8 }),
      async (pieces, cuts) => {
        const text = `HTTP/1.1 200 OK\r\n${pieces.join('')}`
        assert.deepEqual(await read(text, cuts), await read(text))
      },
    ),
    { numRuns: 500 },
  )
})
