/** The wire format: what no honest peer sends is never taken for an answer. The messages are met by @grpc/grpc-js in test/integration. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { decodeCheckResponse } from './authorization-api.ts'
import { MessageWriter, readMessage } from './protobuf.ts'

test('what is written is read again', () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.oneof(
          fc.record({ field: fc.integer({ min: 1, max: 5000 }), number: fc.integer({ min: 1, max: 2 ** 31 }) }),
          fc.record({ field: fc.integer({ min: 1, max: 5000 }), bytes: fc.uint8Array() }),
        ),
      ),
      (fields) => {
        const writer = new MessageWriter()
        for (const each of fields)
          if ('number' in each) writer.varint(each.field, each.number)
          else writer.bytes(each.field, Buffer.from(each.bytes))
        const read = readMessage(writer.finish())?.map(({ field, wire, number, bytes }) =>
          wire === 0 ? { field, number } : { field, bytes: Uint8Array.from(bytes) },
        )
        assert.deepEqual(
          read,
          fields.map((each) => ('number' in each ? { ...each } : { ...each, bytes: Uint8Array.from(each.bytes) })),
        )
      },
    ),
  )
})

const OK = new MessageWriter().message(1, () => undefined).finish()
const DENIED = new MessageWriter()
  .message(1, (status) => status.varint(1, 7))
  .message(2, (denied) => denied.message(1, (status) => status.varint(1, 401)).text(3, 'no'))
  .finish()

test('the two verdicts', () => {
  assert.deepEqual(decodeCheckResponse(OK), { code: 0, denied: null, ok: null })
  assert.deepEqual(decodeCheckResponse(DENIED), { code: 7, denied: { status: 401, headers: [], body: 'no' }, ok: null })
  assert.deepEqual(decodeCheckResponse(Buffer.alloc(0)), { code: null, denied: null, ok: null })
})

test('a refusal that is cut short anywhere is no permission', () => {
  for (let length = 1; length < DENIED.length; length += 1) {
    const response = decodeCheckResponse(DENIED.subarray(0, length))
    // Cut between two fields the status still stands there.
    assert.ok(response === null || response.code !== 0, `${length} bytes`)
  }
})

test('no bytes make it throw, and unknown fields change nothing', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      decodeCheckResponse(Buffer.from(bytes))
    }),
  )
  const more = new MessageWriter().text(9, 'x').varint(77, 5).finish()
  assert.deepEqual(decodeCheckResponse(Buffer.concat([DENIED, more])), decodeCheckResponse(DENIED))
  for (const broken of ['08', '0a05', '0bff', '00', 'ffffffffffffffffffffff01', '0affffffffff7f'])
    assert.equal(decodeCheckResponse(Buffer.from(broken, 'hex')), null, broken)
})
