/** Generated documentation is current. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import test from 'node:test'
import { DIAGNOSTICS } from '../src/config/diagnostics.ts'
import { diagnosticsDocument } from '../src/config/diagnostics-document.ts'

test('docs/diagnostics.md is what the catalogue says (run: npm run docs)', () => {
  const committed = readFileSync(new URL('../docs/diagnostics.md', import.meta.url), 'utf8')
  assert.equal(committed, diagnosticsDocument())
})

test('every code is explained in a sentence', () => {
  for (const [code, { title, explanation }] of Object.entries(DIAGNOSTICS)) {
    assert.match(code, /^SP[1-9]\d{3}$/)
    assert.ok(title.length > 5 && !title.endsWith('.'), `${code}: title`)
    assert.match(explanation, /^\S.{20,}$/s, `${code}: explanation`)
  }
})
