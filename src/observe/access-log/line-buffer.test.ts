/** Lines as bytes: whatever is written, they are those of the text that it stands for. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { jsonString } from './escape.ts'
import { LineBuffer } from './line-buffer.ts'

/** Plain text of every length around the limits, and text of any kind. */
const texts = fc.oneof(
  fc.string({ maxLength: 120 }),
  fc.string({ unit: 'binary', maxLength: 60 }),
  fc.nat(120).map((length) => 'x'.repeat(length)),
  fc
    .tuple(fc.nat(120), fc.constantFrom('"', '\\', '\n', '\u007f', 'é', '\u2028', '\ud800'), fc.nat(60))
    .map(([before, char, behind]) => `${'x'.repeat(before)}${char}${'y'.repeat(behind)}`),
)
const utf8 = (text: string) => Buffer.from(text).toString('utf8')

describe('a line buffer', () => {
  test('writes numbers and strings as their texts, however little memory it began with', () => {
    const numbers = fc.oneof(fc.nat(), fc.integer(), fc.double(), fc.constantFrom(0, -0, 9, 10, 999_999_999, 1e9, 1e21))
    const written = fc.array(
      fc.oneof(
        numbers.map((value) => ({ write: (line: LineBuffer) => line.number(value), text: String(value) })),
        texts.map((value) => ({ write: (line: LineBuffer) => line.json(value), text: jsonString(value) })),
        texts.map((value) => ({ write: (line: LineBuffer) => line.encoded(value), text: utf8(value) })),
        texts.map((value) => ({ write: (line: LineBuffer) => line.run(Buffer.from(value)), text: utf8(value) })),
      ),
    )
    fc.assert(
      fc.property(written, fc.constantFrom(1, 16, 4096), (all, size) => {
        const line = new LineBuffer(size)
        for (const { write } of all) write(line)
        const text = all.map((each) => each.text).join('')
        assert.equal(line.text(), text)
        assert.equal(line.length, Buffer.byteLength(text))
      }),
      { numRuns: 1000 },
    )
  })

  test('takes as plain what is printable ASCII without quote and backslash, and nothing else', () => {
    let plain = 0
    fc.assert(
      fc.property(texts, (text) => {
        const line = new LineBuffer()
        line.encoded('before')
        const is = /^[ !#-[\]-~]*$/.test(text)
        if (is) plain += 1
        assert.equal(line.plain(text), is)
        assert.equal(line.text(), is ? `before${text}` : 'before')
      }),
      { numRuns: 1000 },
    )
    assert.ok(plain > 100 && plain < 900)
    for (let code = 0; code < 0x200; code += 1) {
      const text = String.fromCharCode(code)
      assert.equal(new LineBuffer().plain(text), /[ !#-[\]-~]/.test(text), String(code))
    }
  })

  test('what was taken stays as it was, and what was written before a step back is gone', () => {
    const line = new LineBuffer(16)
    const taken: { readonly bytes: Buffer; readonly text: string }[] = []
    for (let n = 0; n < 50; n += 1) {
      line.json(`line ${n}`)
      const start = line.length
      line.json('not this')
      line.length = start
      line.number(n)
      const text = line.text()
      const bytes = line.take()
      assert.equal(line.length, 0)
      taken.push({ bytes, text })
    }
    taken.forEach(({ bytes, text }, n) => {
      assert.equal(text, `"line ${n}"${n}`)
      assert.equal(bytes.toString(), text)
    })
  })

  test('a copy of what was written is one', () => {
    const line = new LineBuffer()
    line.encoded('ab')
    const copy = line.since(1)
    line.length = 0
    line.encoded('xyz')
    assert.equal(Buffer.from(copy).toString(), 'b')
  })
})
