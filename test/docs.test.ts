/** Generated documentation is current. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import test from 'node:test'
import { DOCUMENTS } from '../scripts/documents.ts'
import { DIAGNOSTICS } from '../src/config/diagnostics.ts'

for (const [name, render] of Object.entries(DOCUMENTS))
  test(`docs/${name} is what the tables say (run: npm run docs)`, () => {
    const committed = readFileSync(new URL(`../docs/${name}`, import.meta.url), 'utf8')
    assert.ok(committed === render(), 'it differs: npm run docs writes it anew')
  })

test('every code is explained in a sentence', () => {
  for (const [code, { title, explanation }] of Object.entries(DIAGNOSTICS)) {
    assert.match(code, /^SP[1-9]\d{3}$/)
    assert.ok(title.length > 5 && !title.endsWith('.'), `${code}: title`)
    assert.match(explanation, /^\S.{20,}$/s, `${code}: explanation`)
  }
})
