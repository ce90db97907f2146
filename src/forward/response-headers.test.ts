import assert from 'node:assert/strict'
import { test } from 'node:test'
import { cleanFields, cleanResponseHeaders } from './response-headers.ts'

test('what concerns one hop goes, also what `connection` names; the rest keeps order and repetition', () => {
  const raw = ['x-a', '1', 'connection', 'x-a, Keep-Alive', 'set-cookie', 'a', 'te', 'x', 'set-cookie', 'b', 'x-b', '2']
  assert.deepEqual(cleanFields([...raw, 'keep-alive', 'max=3, timeout=5'], false, 10), {
    headers: ['set-cookie', 'a', 'set-cookie', 'b', 'x-b', '2'],
    why: null,
    keepAliveMs: 5_000,
    persistent: true,
  })
  // What the mesh says of itself is the retry policy's to see.
  assert.deepEqual(cleanFields(['x-envoy-ratelimited', 'true', 'server', 's'], false, 10).headers, [
    'x-envoy-ratelimited',
    'true',
    'server',
    's',
  ])
})

test('persistent: as HTTP/1.1 unless it closes, as HTTP/1.0 only if it says so', () => {
  const persistent = (http10: boolean, ...fields: readonly string[]) => {
    const cleaned = cleanFields(fields, http10, 10)
    return cleaned.headers !== null && cleaned.persistent
  }
  assert.ok(persistent(false) && !persistent(true))
  assert.ok(persistent(true, 'connection', 'keep-alive') && persistent(true, 'connection', 'x, Keep-Alive'))
  assert.ok(!persistent(false, 'connection', 'Close') && !persistent(false, 'connection', 'keep-alive, close'))
  assert.ok(!persistent(true, 'connection', 'keep-alive', 'connection', 'close'))
  // A value is not a name, nor what another field says.
  assert.ok(persistent(false, 'x', 'connection', 'connection', 'y'))
})

test('what lets two parties disagree about the end is refused, also when `connection` names it', () => {
  const rows: readonly (readonly [why: string, http10: boolean, ...fields: readonly string[]])[] = [
    ['content_length_and_transfer_encoding', false, 'content-length', '1', 'transfer-encoding', 'chunked'],
    ['several_content_lengths', false, 'content-length', '1', 'content-length', '1'],
    ['several_content_lengths', false, 'content-length', '1', 'connection', 'content-length', 'content-length', '1'],
    ['transfer_encoding', false, 'transfer-encoding', 'gzip, chunked'],
    ['transfer_encoding', false, 'transfer-encoding', 'chunked', 'transfer-encoding', 'chunked'],
    ['transfer_encoding', true, 'transfer-encoding', 'chunked'],
    ['too_many_headers', false, ...Array.from({ length: 22 }, () => 'x')],
  ]
  for (const [why, http10, ...fields] of rows)
    assert.deepEqual(cleanFields(fields, http10, 10), { headers: null, why }, fields.join())
  assert.equal(cleanFields(['transfer-encoding', 'Chunked'], false, 10).why, null)
  assert.equal(cleanFields(['content-length', '1'], false, 1).why, null)
})

test('names in any case; a length that some would take for octal is none', () => {
  assert.deepEqual(cleanResponseHeaders(['Content-Length', '5', 'X', 'Content-Length'], false, 10).headers, [
    'content-length',
    '5',
    'x',
    'Content-Length',
  ])
  assert.equal(cleanResponseHeaders(['Content-Length', '05'], false, 10).why, 'content_length')
})
