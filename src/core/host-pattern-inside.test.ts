/** Names of the inside (threat 42): cluster suffixes are never looked up on a caller's word. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isInsideName } from './host-pattern.ts'

for (const name of [
  'kubernetes',
  'api.default.svc',
  'api.default.svc.cluster.local',
  'metadata.google.internal',
  'printer.local',
  'x.localhost',
  'nas.home.arpa',
  'localhost',
]) {
  test(`${name} is a name of the inside`, () => assert.equal(isInsideName(name), true))
}
for (const name of ['example.com', 'svc.example.com', 'local.example', 'internal.example.org', 'notlocal.com']) {
  test(`${name} is not`, () => assert.equal(isInsideName(name), false))
}
