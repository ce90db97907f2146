import assert from 'node:assert/strict'
import { test } from 'node:test'
import { exportProblem, isExportedTo, isPrivate } from './visibility.ts'

test('exportTo: who sees a resource of namespace "own"', () => {
  const rows: [string[] | undefined, string, boolean][] = [
    [undefined, 'gw', true],
    [[], 'gw', true],
    [['*'], 'gw', true],
    [['.'], 'gw', false],
    [['.'], 'own', true],
    [['gw'], 'gw', true],
    [['other', 'gw'], 'gw', true],
    [['other'], 'gw', false],
    [['~'], 'gw', false],
    [['~'], 'own', false],
  ]
  for (const [exportTo, namespace, seen] of rows)
    assert.equal(isExportedTo(exportTo, 'own', namespace), seen, `${JSON.stringify(exportTo)} → ${namespace}`)
})

test('private means its own namespace and no other', () => {
  assert.equal(isPrivate(['.'], 'own'), true)
  assert.equal(isPrivate(['own'], 'own'), true)
  assert.equal(isPrivate(['.', 'other'], 'own'), false)
  assert.equal(isPrivate([], 'own'), false)
  assert.equal(isPrivate(undefined, 'own'), false)
})

test('lists that contradict themselves are refused', () => {
  for (const list of [['.'], ['*'], ['~'], ['a', 'b'], ['.', 'a']]) assert.equal(exportProblem(list, 'own', true), null)
  for (const list of [['*', '.'], ['~', 'a'], ['a', 'a'], ['.', 'own'], ['a/b'], ['']])
    assert.notEqual(exportProblem(list, 'own', true), null, String(list))
  assert.notEqual(exportProblem(['~'], 'own'), null, 'for services only')
})
