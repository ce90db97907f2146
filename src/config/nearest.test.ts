/** Suggestions help with slips and stay silent otherwise. */
import assert from 'node:assert/strict'
import test from 'node:test'
import { nearest } from './nearest.ts'

const KEYS = ['hosts', 'ports', 'resolution', 'location', 'exportTo', 'tls']

test('one slip, swapped letters, wrong case', () => {
  assert.equal(nearest('host', KEYS), 'hosts')
  assert.equal(nearest('resoltuion', KEYS), 'resolution')
  assert.equal(nearest('tsl', KEYS), 'tls')
  assert.equal(nearest('EXPORTTO', KEYS), 'exportTo')
})

test('nothing that is merely similar', () => {
  assert.equal(nearest('colour', KEYS), null)
  assert.equal(nearest('xyz', KEYS), null)
  assert.equal(nearest('PeerAuthentication', ['RequestAuthentication'], 2), null)
  assert.equal(nearest('anything', []), null)
})
