import assert from 'node:assert/strict'
import { METHODS as NODE_METHODS } from 'node:http'
import { test } from 'node:test'
import fc from 'fast-check'
import { hasBareLineEnd, headEnd } from './bytes.ts'
import { decimalOf, METHODS, readRequestHead } from './request-head.ts'
import { readResponseHead } from './response-head.ts'

const requestHead = (text: string) => readRequestHead(Buffer.from(text, 'latin1'), 0, Buffer.byteLength(text, 'latin1'))
const responseHead = (text: string) =>
  readResponseHead(Buffer.from(text, 'latin1'), 0, Buffer.byteLength(text, 'latin1'))

test('a request head is read as it stands', () => {
  assert.deepEqual(requestHead('GET /a?b=%2F HTTP/1.1\r\nHost: A.example\r\nX-Odd: \t v w \r\nempty:\r\n\r\n'), {
    method: 'GET',
    target: '/a?b=%2F',
    minorVersion: 1,
    fields: ['host', 'A.example', 'x-odd', 'v w', 'empty', ''],
    framing: 0,
  })
})

const BROKEN: readonly (readonly [fault: string, head: string])[] = [
  ['INVALID_METHOD', '\r\nGET / HTTP/1.1\r\n\r\n'],
  ['INVALID_METHOD', ' GET / HTTP/1.1\r\n\r\n'],
  ['INVALID_METHOD', 'GE(T / HTTP/1.1\r\n\r\n'],
  ['INVALID_METHOD', 'GET\r\n\r\n'],
  ['INVALID_METHOD', 'get / HTTP/1.1\r\n\r\n'],
  ['INVALID_METHOD', 'FOO / HTTP/1.1\r\n\r\n'],
  ['INVALID_TARGET', 'GET  / HTTP/1.1\r\n\r\n'],
  ['INVALID_TARGET', 'GET /\tb HTTP/1.1\r\n\r\n'],
  ['INVALID_TARGET', 'GET /\xe9 HTTP/1.1\r\n\r\n'],
  ['INVALID_TARGET', 'GET /\x7f HTTP/1.1\r\n\r\n'],
  ['INVALID_VERSION', 'GET /\r\n\r\n'],
  ['INVALID_VERSION', 'GET / b HTTP/1.1\r\n\r\n'],
  ['INVALID_VERSION', 'GET /  HTTP/1.1\r\n\r\n'],
  ['INVALID_VERSION', 'GET / HTTP/2.0\r\n\r\n'],
  ['INVALID_VERSION', 'GET / http/1.1\r\n\r\n'],
  ['INVALID_VERSION', 'GET / HTTP/1.11\r\n\r\n'],
  ['INVALID_VERSION', 'GET / HTTP/1.1 \r\n\r\n'],
  ['INVALID_LINE_END', 'GET / HTTP/1.1\n\r\n\r\n'],
  ['INVALID_LINE_END', 'GET / HTTP/1.1\r\na: b\n\r\n\r\n'],
  ['INVALID_LINE_END', 'GET / HTTP/1.1\r\na: b\rc: d\r\n\r\n'],
  ['OBSOLETE_LINE_FOLDING', 'GET / HTTP/1.1\r\na: b\r\n c\r\n\r\n'],
  ['OBSOLETE_LINE_FOLDING', 'GET / HTTP/1.1\r\n a: b\r\n\r\n'],
  ['INVALID_FIELD_NAME', 'GET / HTTP/1.1\r\na : b\r\n\r\n'],
  ['INVALID_FIELD_NAME', 'GET / HTTP/1.1\r\n: b\r\n\r\n'],
  ['INVALID_FIELD_NAME', 'GET / HTTP/1.1\r\nab\r\n\r\n'],
  ['INVALID_FIELD_NAME', 'GET / HTTP/1.1\r\na\xe9: b\r\n\r\n'],
  ['INVALID_FIELD_VALUE', 'GET / HTTP/1.1\r\na: b\0c\r\n\r\n'],
  ['INVALID_FIELD_VALUE', 'GET / HTTP/1.1\r\na: \x7f\r\n\r\n'],
]
for (const [fault, head] of BROKEN)
  test(`refused as ${fault}: ${JSON.stringify(head)}`, () => assert.equal(requestHead(head), fault))

test('framing: one length or chunked alone; anything else is nobody’s to interpret', () => {
  const framing = (fields: string) => {
    const head = requestHead(`POST / HTTP/1.1\r\n${fields}\r\n`)
    return typeof head === 'string' ? head : head.framing
  }
  const rows: readonly (readonly [string, unknown])[] = [
    ['', 0],
    ['content-length: 0\r\n', 0],
    ['Content-Length: 12\r\n', 12],
    ['Transfer-Encoding: Chunked\r\n', 'chunked'],
    ['content-length: 005\r\n', 'invalid'],
    ['content-length: +5\r\n', 'invalid'],
    ['content-length: 5, 5\r\n', 'invalid'],
    ['content-length:\r\n', 'invalid'],
    ['content-length: 0x5\r\n', 'invalid'],
    ['content-length: 1234567890123456\r\n', 'invalid'],
    ['content-length: 5\r\ncontent-length: 5\r\n', 'invalid'],
    ['content-length: 5\r\ntransfer-encoding: chunked\r\n', 'invalid'],
    ['transfer-encoding: chunked\r\ncontent-length: 5\r\n', 'invalid'],
    ['transfer-encoding: gzip, chunked\r\n', 'invalid'],
    ['transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n', 'invalid'],
    ['transfer-encoding: identity\r\n', 'invalid'],
    ['transfer-encoding: \x0bchunked\r\n', 'INVALID_FIELD_VALUE'],
    ['transfer-encoding: chunked\t\r\n', 'INVALID_FIELD_VALUE'],
    ['content-length:\t5\r\n', 'INVALID_FIELD_VALUE'],
  ]
  for (const [fields, expected] of rows) assert.equal(framing(fields), expected, fields)
})

test('a response head is read as it stands; the reason is dropped', () => {
  const ok = responseHead('HTTP/1.1 200 All r\xefght\r\nServer: x\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n')
  assert.deepEqual(ok, {
    status: 200,
    minorVersion: 1,
    fields: ['server', 'x', 'set-cookie', 'a', 'set-cookie', 'b'],
    framing: 'close',
  })
  for (const [head, framing] of [
    ['HTTP/1.1 204\r\n\r\n', 'close'],
    ['HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\n', 3],
    ['HTTP/1.1 200 \r\ntransfer-encoding: chunked\r\n\r\n', 'chunked'],
    ['HTTP/1.1 200 \r\ntransfer-encoding: chunked\r\ncontent-length: 1\r\n\r\n', 'invalid'],
  ] as const) {
    const read = responseHead(head)
    assert.equal(typeof read === 'string' ? read : read.framing, framing, head)
  }
  for (const [head, fault] of [
    ['HTTP/2 200\r\n\r\n', 'INVALID_VERSION'],
    ['HTTP/1.1  200\r\n\r\n', 'INVALID_STATUS'],
    ['HTTP/1.1 99 x\r\n\r\n', 'INVALID_STATUS'],
    ['HTTP/1.1 2000 x\r\n\r\n', 'INVALID_STATUS'],
    ['HTTP/1.1 600 x\r\n\r\n', 'INVALID_STATUS'],
    ['HTTP/1.1 200 x\n\r\n', 'INVALID_LINE_END'],
    ['HTTP/1.1 200 \0\r\n\r\n', 'INVALID_STATUS'],
    ['HTTP/1.1 200 x\r\na : b\r\n\r\n', 'INVALID_FIELD_NAME'],
  ] as const)
    assert.equal(responseHead(head), fault, head)
})

const tchar = fc.constantFrom(..."!#$%&'*+-.^_`|~09azAZ".split(''))
const token = fc.string({ unit: tchar, minLength: 1, maxLength: 20 })
const vchar = fc.constantFrom('a', 'Z', '0', ' ', '\t', '"', '\xe9', ':', ',', ';', '%')
const value = fc.string({ unit: vchar, maxLength: 20 })

test('whatever is written well is read back, wherever it stands in a buffer', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...METHODS),
      fc.array(fc.tuple(token, value)),
      fc.nat(40),
      fc.nat(40),
      (method, fields, before, after) => {
        const lines = fields.map(([name, text]) => `${name}:${text}\r\n`).join('')
        const text = `${method} /x HTTP/1.1\r\n${lines}\r\n`
        const buffer = Buffer.from('\n'.repeat(before) + text + '\r\n'.repeat(after), 'latin1')
        const end = headEnd(buffer, before, buffer.length)
        assert.equal(end, before + text.length)
        const head = readRequestHead(buffer, before, end)
        assert.ok(typeof head !== 'string', JSON.stringify(head))
        assert.equal(head.method, method)
        const trimmed = (each: string) => each.replace(/^[ \t]+|[ \t]+$/g, '')
        assert.deepEqual(
          head.fields,
          fields.flatMap(([name, each]) => [name.toLowerCase(), trimmed(each)]),
        )
      },
    ),
  )
})

test('no bytes make it throw, and none of what is accepted holds a control character', () => {
  const piece = fc.constantFrom(
    'GET ',
    '/',
    ' HTTP/1.1',
    '\r\n',
    '\n',
    '\r',
    'a: b',
    ':',
    ' ',
    '\t',
    '\0',
    'HTTP/1.1 200 x',
  )
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 30 }), (pieces) => {
      const buffer = Buffer.from(`${pieces.join('')}\r\n\r\n`, 'latin1')
      const end = headEnd(buffer, 0, buffer.length)
      assert.notEqual(end, -1)
      for (const head of [readRequestHead(buffer, 0, end), readResponseHead(buffer, 0, end)]) {
        if (typeof head === 'string') continue
        const controls = head.fields
          .join('')
          .split('')
          .filter((char) => (char < ' ' && char !== '\t') || char === '\x7f')
        assert.deepEqual(controls, [])
      }
    }),
    { numRuns: 2000 },
  )
})

test('decimalOf: one to fifteen digits, and nothing else that Number() would take', () => {
  const rows = { '0': 0, '007': 7, '1024': 1024, '999999999999999': 999_999_999_999_999 } as const
  for (const [text, value] of Object.entries(rows)) assert.equal(decimalOf(text), value)
  for (const text of ['', '+1', '-1', ' 1', '1 ', '1.0', '1e3', '0x1', '1234567890123456', '١', '/', ':'])
    assert.equal(decimalOf(text), -1, text)
})

test('headEnd: the first empty line from `from` on, and nothing that stands behind `end`', () => {
  const bytes = fc.array(fc.constantFrom(13, 10, 13, 10, 65, 0), { maxLength: 24 })
  fc.assert(
    fc.property(bytes, fc.nat(24), fc.nat(24), (all, first, second) => {
      const buffer = Buffer.from(all)
      const from = Math.min(first, second, all.length)
      const end = Math.min(Math.max(first, second), all.length)
      const at = buffer.subarray(0, end).indexOf('\r\n\r\n', from)
      assert.equal(headEnd(buffer, from, end), at === -1 ? -1 : at + 4)
    }),
    { numRuns: 5000 },
  )
  assert.equal(headEnd(Buffer.from('a\r\n\r\n'), 0, 4), -1)
})

test('a line end that can no longer become CRLF is seen before the head is complete', () => {
  const bare = (text: string) => hasBareLineEnd(Buffer.from(text), 0, text.length)
  for (const text of ['GET / HTTP/1.1\n', '\n', 'GET /\rx', 'a\r\r']) assert.equal(bare(text), true, text)
  for (const text of ['GET / HTTP/1.1\r\n', 'GET / HTTP/1.1\r', '', 'a\r\nb\r']) assert.equal(bare(text), false, text)
})

test('the table of methods is what Node’s parser knows', () => {
  assert.deepEqual(METHODS.toSorted(), NODE_METHODS.toSorted())
})
