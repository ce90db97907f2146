import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { createChunkReader } from './chunked.ts'

type Read = {
  readonly body: string
  readonly done: boolean
  readonly fault: string | null
  readonly left: string
  readonly trailers: readonly string[]
}

/** Feeds `text` in pieces that end at `cuts`. */
function read(text: string, cuts: readonly number[] = []): Read {
  const whole = Buffer.from(text, 'latin1')
  const reader = createChunkReader((parts) => Buffer.concat(parts))
  let body = ''
  let consumed = 0
  const ends = [...new Set(cuts.filter((cut) => cut > 0 && cut < whole.length))].sort((a, b) => a - b)
  for (const end of [...ends, whole.length]) {
    if (reader.done || reader.fault !== null) break
    // A copy at another place: nothing may depend on bytes outside the piece.
    const piece = Buffer.from(whole.subarray(consumed, end))
    const at = reader.read(piece, 0, piece.length, (from, to) => {
      body += piece.toString('latin1', from, to)
    })
    consumed += at
    if (at < piece.length) break
    piece.fill(0)
  }
  return { body, done: reader.done, fault: reader.fault, left: text.slice(consumed), trailers: reader.trailers }
}

test('chunks, extensions and trailers come apart; what follows is left alone', () => {
  assert.deepEqual(read('3\r\nabc\r\n0A;x=y;z="q"\r\n0123456789\r\n0\r\nx-sum: 1\r\nB:\r\n\r\nGET /'), {
    body: 'abc0123456789',
    done: true,
    fault: null,
    left: 'GET /',
    trailers: ['x-sum', '1', 'b', ''],
  })
})

const BROKEN: readonly (readonly [fault: string, body: string])[] = [
  ['INVALID_CHUNK_SIZE', '\r\n'],
  ['INVALID_CHUNK_SIZE', ';x\r\n'],
  ['INVALID_CHUNK_SIZE', '0x3\r\nabc\r\n'],
  ['INVALID_CHUNK_SIZE', '+3\r\nabc\r\n'],
  ['INVALID_CHUNK_SIZE', ' 3\r\nabc\r\n'],
  ['INVALID_CHUNK_SIZE', '3 \r\nabc\r\n'],
  ['INVALID_CHUNK_SIZE', '3 ;x\r\nabc\r\n'],
  ['INVALID_CHUNK_SIZE', '3_0\r\nabc\r\n'],
  ['INVALID_CHUNK_SIZE', '3\nabc\r\n'],
  ['INVALID_CHUNK_SIZE', '3\rabc'],
  ['INVALID_CHUNK_SIZE', '3;\r\nabc\r\n'],
  ['INVALID_CHUNK_SIZE', '3;a=\r\nabc\r\n'],
  ['INVALID_CHUNK_SIZE', '3; a\r\nabc\r\n'],
  ['INVALID_CHUNK_SIZE', '3;a="b\r\nabc\r\n'],
  ['INVALID_CHUNK_SIZE', '3;a="b"c\r\nabc\r\n'],
  ['INVALID_CHUNK_SIZE', '3;a\nb\r\n'],
  ['INVALID_CHUNK_SIZE', '3;a\rb\r\n'],
  ['INVALID_CHUNK_SIZE', '000000000003\r\nabc\r\n'],
  ['INVALID_CHUNK_SIZE', 'ffffffffffff\r\n'],
  ['INVALID_CHUNK_END', '3\r\nabcd\r\n'],
  ['INVALID_CHUNK_END', '3\r\nabc\n'],
  ['INVALID_CHUNK_END', '3\r\nabc\rx'],
  ['CHUNK_EXTENSIONS_OVERFLOW', `1;${'x'.repeat(20_000)}`],
  ['CHUNK_EXTENSIONS_OVERFLOW', '1;xxxxxxxxx\r\na\r\n'.repeat(2_000)],
  ['INVALID_LINE_END', '0\r\na: b\n'],
  ['INVALID_LINE_END', '0\r\n\n'],
  ['OBSOLETE_LINE_FOLDING', '0\r\na: b\r\n c\r\n\r\n'],
  ['INVALID_FIELD_NAME', '0\r\na : b\r\n\r\n'],
  ['TRAILER_OVERFLOW', `0\r\na: ${'x'.repeat(10_000)}`],
]
for (const [fault, text] of BROKEN)
  test(`refused as ${fault}: ${JSON.stringify(text.slice(0, 40))}`, () => {
    const whole = read(text)
    assert.equal(whole.fault, fault)
    assert.equal(whole.done, false)
    assert.equal(
      read(
        text,
        Array.from({ length: Math.min(text.length, 300) }, (_, i) => i),
      ).fault,
      fault,
    )
  })

const chunk = fc.tuple(
  fc.string({ unit: fc.constantFrom('a', '\r', '\n', '0', ';', '\xff'), minLength: 1, maxLength: 30 }),
  fc.constantFrom('', ';a', ';a=b', ';a="\xe9 \t\\\\";b'),
  fc.boolean(),
)
const trailers = fc.constantFrom('', 'x: y\r\n', 'x: y\r\nz:\r\n')

test('however it is split, the same body, trailers and rest', () => {
  fc.assert(
    fc.property(fc.array(chunk, { maxLength: 8 }), trailers, fc.array(fc.nat(400)), (chunks, tail, cuts) => {
      const written = chunks.map(([data, extension, upper]) => {
        const size = data.length.toString(16)
        return `${upper ? size.toUpperCase() : size}${extension}\r\n${data}\r\n`
      })
      const text = `${written.join('')}0\r\n${tail}\r\nrest`
      const whole = read(text)
      assert.equal(whole.body, chunks.map(([data]) => data).join(''))
      assert.equal(whole.done, true)
      assert.equal(whole.left, 'rest')
      const { body, done, fault, trailers: fields } = read(text, cuts)
      assert.deepEqual([body, done, fault, fields], [whole.body, true, null, whole.trailers])
    }),
  )
})

test('random bytes: no throw, and every split agrees on fault and body', () => {
  const piece = fc.constantFrom('1', 'a', 'F', '0', '\r\n', '\r', '\n', ';', ' ', 'x', ':')
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 40 }), fc.array(fc.nat(60)), (pieces, cuts) => {
      const text = pieces.join('')
      const whole = read(text)
      const split = read(text, cuts)
      assert.deepEqual([split.body, split.done, split.fault], [whole.body, whole.done, whole.fault])
    }),
    { numRuns: 3000 },
  )
})
