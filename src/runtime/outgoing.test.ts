import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { HeaderEdit } from '../model/route.ts'
import { dressedFields, type FactsSource, isEdited, replaceFields, withShadowHost } from './outgoing.ts'

const edit = (parts: Partial<HeaderEdit>): HeaderEdit => ({ set: [], add: [], remove: [], ...parts })
const never: FactsSource = {
  factsFor: () => {
    throw new Error('nobody edits')
  },
}

test('withShadowHost: the suffix goes before the port; an IPv6 literal has no room for one; the rest stays', () => {
  /** TABLE: authority → what the mirror sees. */
  const rows = {
    'site.example': 'site.example-shadow',
    'site.example:8080': 'site.example-shadow:8080',
    '192.0.2.1:80': '192.0.2.1-shadow:80',
    '[2001:db8::1]': '[2001:db8::1]',
    '[2001:db8::1]:80': '[2001:db8::1]:80',
  }
  for (const [authority, shadow] of Object.entries(rows))
    assert.deepEqual(withShadowHost(['host', authority, 'x-a', '1', 'host2', 'x']), [
      'host',
      shadow,
      'x-a',
      '1',
      'host2',
      'x',
    ])
})

test('replaceFields: fields take the place of all of the same names, and nothing else moves', () => {
  const headers = ['vary', 'origin', 'a', '1', 'b', '2', 'a', '3']
  assert.equal(replaceFields(headers, []), headers)
  assert.deepEqual(replaceFields(headers, ['a', 'new', 'c', 'a']), ['vary', 'origin', 'b', '2', 'a', 'new', 'c', 'a'])
  // A value is not a name.
  assert.deepEqual(replaceFields(headers, ['c', 'vary']), [...headers, 'c', 'vary'])
})

test('dressedFields: edits, then our cookie beside theirs, then CORS over all; facts are asked for only by edits', () => {
  const plain = { edits: [null, null], setCookie: null, corsFields: [] }
  const headers = ['set-cookie', 'a=1', 'access-control-allow-origin', '*', 'x', '1']
  assert.equal(dressedFields(200, headers, plain, never), headers)
  const asked: unknown[] = []
  const source: FactsSource = {
    factsFor: (response) => {
      asked.push(response)
      throw new Error('asked')
    },
  }
  const edits = [null, edit({ set: [['x', '2']], remove: ['set-cookie'] })]
  assert.throws(() => dressedFields(201, headers, { ...plain, edits }, source), /asked/)
  assert.deepEqual(asked, [{ status: 201, headers }])
  const dressing = { edits: [null], setCookie: 'b=2', corsFields: ['access-control-allow-origin', 'https://a.example'] }
  assert.deepEqual(dressedFields(200, headers, dressing, never), [
    'set-cookie',
    'a=1',
    'x',
    '1',
    'set-cookie',
    'b=2',
    'access-control-allow-origin',
    'https://a.example',
  ])
})

test('isEdited: names that any edit sets, adds or removes', () => {
  const edits = [null, edit({ set: [['s', '1']], add: [['a', '1']] }), edit({ remove: ['r'] })]
  for (const name of ['s', 'a', 'r']) assert.ok(isEdited(edits, name), name)
  assert.ok(!isEdited(edits, '1') && !isEdited([null], 's'))
})
