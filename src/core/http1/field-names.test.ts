import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { KNOWN_NAMES, knownName, lineStart } from './field-names.ts'

const found = (text: string) => knownName(Buffer.from(`..${text}..`, 'latin1'), 2, 2 + text.length)

test('known names are found in any case, and nothing else is taken for one', () => {
  const upper = (name: string) => name.toUpperCase()
  const mixed = (name: string) => name.replace(/(?:^|-)[a-z]/g, upper)
  for (const name of KNOWN_NAMES) for (const each of [name, upper(name), mixed(name)]) assert.equal(found(each), name)
  const known: ReadonlySet<string> = new Set(KNOWN_NAMES)
  const odd = fc.constantFrom('x', '-', '0', '_')
  fc.assert(
    fc.property(fc.constantFrom(...KNOWN_NAMES), fc.nat(30), odd, fc.constantFrom(0, 1), (name, place, char, cut) => {
      const at = place % (name.length + 1)
      const text = name.slice(0, at) + char + name.slice(at + cut)
      assert.equal(found(text), known.has(text) ? text : null)
    }),
  )
})

test('lineStart: ends the line before; a name that could end a line or be another name begins none', () => {
  assert.equal(lineStart('host'), '\r\nhost: ')
  assert.equal(lineStart('x-own'), '\r\nx-own: ')
  for (const name of ['', 'Host', 'a b', 'a:', 'a\r\nb', 'a\n', 'ä', '\u010a', ':path'])
    assert.equal(lineStart(name), null, JSON.stringify(name))
})
