/** Threat rows 20, 25, 40: one canonical form, or a refusal. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { canonicalSni, parseAuthority } from './authority.ts'

const ACCEPTED: readonly (readonly [string, string, number | null])[] = [
  ['EVIL.com', 'evil.com', null],
  ['evil.com.', 'evil.com', null],
  ['evil.com:80', 'evil.com', 80],
  ['evil.com.:8443', 'evil.com', 8443],
  ['xn--bcher-kva.de', 'xn--bcher-kva.de', null],
  ['a_b.example', 'a_b.example', null],
  ['127.0.0.1:1', '127.0.0.1', 1],
  ['[::1]', '::1', null],
  ['[2001:db8::1]:443', '2001:db8::1', 443],
]
for (const [text, host, port] of ACCEPTED) {
  test(`authority ${text}`, () => {
    const parsed = parseAuthority(text)
    assert.equal(parsed?.host, host)
    assert.equal(parsed?.port, port)
  })
}

const REFUSED = [
  '',
  '.',
  'evil.com:',
  'evil.com:080',
  'evil.com:0',
  'evil.com:65536',
  'evil.com:8 0',
  'user@evil.com',
  'evil.com#x',
  'evil.com/',
  'evil.com\t',
  ' evil.com',
  'evil.com,other',
  'evil..com',
  'evil.com..',
  '-a.com',
  'bücher.de',
  'ｅvil.com',
  'a%2eb',
  '2130706433',
  '0x7f.1',
  '0177.0.0.1',
  '127.1',
  '127.0.0.1.',
  '[::1',
  '[::1]x',
  '[::1]:',
  '[0:0:0:0:0:0:0:1]',
  '[::FFFF:127.0.0.1]',
  '[fe80::1%eth0]',
  '::1',
  '[v1.a]',
  `${'a'.repeat(64)}.com`,
] as const
for (const text of REFUSED) {
  test(`authority ${JSON.stringify(text)} is refused`, () => assert.equal(parseAuthority(text), null))
}

test('SNI: names only', () => {
  assert.equal(canonicalSni('A.b.'), 'a.b')
  assert.equal(canonicalSni('outbound_.443_._.gw.ns.svc.cluster.local'), 'outbound_.443_._.gw.ns.svc.cluster.local')
  assert.equal(canonicalSni('127.0.0.1'), null)
})

test('the canonical text is a fixpoint, and nothing throws', () => {
  const char = fc.constantFrom('a', 'B', '.', ':', '-', '1', '0', '[', ']', 'x', '@', '_', '%')
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.array(char).map((c) => c.join('')),
      ),
      (text) => {
        const parsed = parseAuthority(text)
        if (parsed !== null) assert.deepEqual(parseAuthority(parsed.text), parsed)
      },
    ),
    { numRuns: 3000 },
  )
})
