/** Blocks are read strictly: what is not understood is refused, and never covers more than was meant. */
import assert from 'node:assert/strict'
import test from 'node:test'
import { type Block, BlockError, coversHost, readBlock, readSource } from './block.ts'

const ID = 'b-0123456789ab'
const read = (from: string, to: string | null = null, reason = 'leak'): Block => readBlock(ID, { from, to, reason })

test('who: a SPIFFE ID with or without its scheme, a namespace, everybody', () => {
  const uri = 'spiffe://cluster.local/ns/mytest/sa/sleep'
  assert.deepEqual(readSource(uri), { kind: 'principal', uri })
  assert.deepEqual(readSource(uri.slice(9)), { kind: 'principal', uri })
  assert.deepEqual(readSource('ns/mytest'), { kind: 'namespace', namespace: 'mytest' })
  assert.deepEqual(readSource('*'), { kind: 'all' })
  assert.equal(read('cluster.local/ns/mytest/sa/sleep').from, uri)
})

test('who: anything else is refused', () => {
  const bad = [
    '',
    ' *',
    '**',
    'sleep',
    'ns/',
    'ns/*',
    'ns/a/b',
    'ns/A',
    'spiffe://',
    'spiffe://cluster.local',
    'spiffe://cluster.local/',
    'spiffe://cluster.local//x',
    'spiffe://cluster.local/ns/../sa/x',
    'spiffe://cluster.local/ns/a/sa/*',
    'spiffe://Cluster.local/ns/a',
    'spiffe://cluster.local/ns/a?x',
    'https://cluster.local/ns/a',
  ]
  for (const from of bad) assert.throws(() => read(from), BlockError, from)
})

test('where to: a host in any spelling, a wildcard, all; no port, no star within', () => {
  assert.equal(read('*', 'EVIL.Example.').to, 'evil.example')
  assert.equal(read('*', '*.Evil.example').to, '*.evil.example')
  assert.equal(read('*', '*').to, null)
  for (const to of ['', 'evil.example:443', 'http://evil.example', 'a*.example', '*.*', '127.1', 'ev il'])
    assert.throws(() => read('*', to), BlockError, to)
})

test('why: one printable line', () => {
  for (const reason of ['', 'a\nb', 'a\u001b[31m', 'x'.repeat(201)])
    assert.throws(() => read('*', null, reason), BlockError, reason)
  assert.equal(read('*', null, 'Schlüssel weg – INC-12').reason, 'Schlüssel weg – INC-12')
})

test('an id is one of ours', () => {
  for (const id of ['', 'b-1', 'b-0123456789aB', 'b-0123456789ab\n'])
    assert.throws(() => readBlock(id, { from: '*', to: null, reason: 'x' }), BlockError, id)
})

test('covers the host it names, and below a wildcard what ends so; no more', () => {
  assert.equal(coversHost(read('*'), 'anything.example'), true)
  const exact = read('*', 'evil.example')
  assert.deepEqual(
    ['evil.example', 'www.evil.example', 'notevil.example'].map((host) => coversHost(exact, host)),
    [true, false, false],
  )
  const below = read('*', '*.evil.example')
  assert.deepEqual(
    ['evil.example', 'www.evil.example', 'a.b.evil.example', 'notevil.example'].map((host) => coversHost(below, host)),
    [false, true, true, false],
  )
})
