import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { BudgetFile } from './budget-file.ts'

function directory(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'sallyport-budgets-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

const STATE = { of: 'requests both principal', window: '2026-11', used: { 'spiffe://a/ns/b/sa/c': 7 } }

test('what is saved is loaded, in a directory that is made', async (t) => {
  const dir = join(directory(t), 'state', 'deep')
  const file = new BudgetFile(dir)
  assert.deepEqual(file.load(), new Map())
  await file.save([['ns/a/b', STATE]])
  assert.deepEqual(new BudgetFile(dir).load(), new Map([['ns/a/b', STATE]]))
  file.saveNow([])
  assert.deepEqual(new BudgetFile(dir).load(), new Map())
})

test('a file that is none of ours stops the start instead of starting budgets anew', (t) => {
  const dir = directory(t)
  for (const text of ['', '{', '{}', '{"version":2,"budgets":{}}', '{"version":1,"budgets":{"a":{"used":{"b":-1}}}}']) {
    writeFileSync(join(dir, 'budgets.json'), text)
    assert.throws(
      () => new BudgetFile(dir).load(),
      /state of budgets, .*budgets\.json: .*remove it to start all budgets anew/,
    )
    assert.equal(readFileSync(join(dir, 'budgets.json'), 'utf8'), text)
  }
})

test('a directory that cannot be written is found at the start', (t) => {
  const file = join(directory(t), 'a-file')
  writeFileSync(file, '')
  assert.throws(() => new BudgetFile(join(file, 'state')).load(), /state of budgets/)
})
