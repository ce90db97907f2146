/** A body that can be sent again is sent again byte for byte, whenever its reader is replaced. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { PassThrough, Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { test } from 'node:test'
import fc from 'fast-check'
import { REPLAY_LIMIT, ReplayableBody } from './replayable-body.ts'

const never = (): void => assert.fail('the body was not too large')

test('nothing is read before somebody asks', async () => {
  const source = new PassThrough()
  source.write('x')
  const body = new ReplayableBody(source, never)
  const reader = body.open()
  await new Promise((resolve) => setImmediate(resolve))
  assert.equal(source.readableFlowing, null)
  source.end()
  assert.equal((await buffer(reader)).toString(), 'x')
})

test('any number of readers, each stopped anywhere: the last one has every byte', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.uint8Array({ minLength: 1, maxLength: 9_000 }), { maxLength: 7 }),
      fc.array(fc.nat(20_000), { maxLength: 4 }),
      async (chunks, stops) => {
        const all = Buffer.concat(chunks)
        const body = new ReplayableBody(Readable.from(chunks.map((chunk) => Buffer.from(chunk))), never)
        for (const stop of stops) {
          let seen = 0
          const reader = body.open()
          reader.on('data', (chunk: Buffer) => {
            seen += chunk.length
            if (seen >= stop) body.close()
          })
          await once(reader, 'close')
        }
        assert.deepEqual(await buffer(body.open()), all)
      },
    ),
    { numRuns: 60 },
  )
})

test('up to 64 KiB are kept; one byte more streams on and cannot be repeated', async () => {
  for (const [size, replayable] of [
    [REPLAY_LIMIT, true],
    [REPLAY_LIMIT + 1, false],
  ] as const) {
    let tooLarge = 0
    const chunks = Array.from({ length: Math.ceil(size / 1_000) }, (_, i) =>
      Buffer.alloc(Math.min(1_000, size - i * 1_000), i),
    )
    const body = new ReplayableBody(Readable.from(chunks), () => tooLarge++)
    assert.deepEqual(await buffer(body.open()), Buffer.concat(chunks))
    assert.deepEqual([body.replayable, tooLarge], [replayable, replayable ? 0 : 1])
    if (replayable) assert.deepEqual(await buffer(body.open()), Buffer.concat(chunks))
    else assert.throws(() => body.open(), /beginning of the body is gone/)
  }
})

test('discarding before the reader has begun loses nothing', async () => {
  const source = new PassThrough()
  source.write('abc')
  const body = new ReplayableBody(source, never)
  const first = body.open()
  assert.equal(String((await once(first, 'data'))[0]), 'abc')
  const second = body.open()
  body.discard()
  source.end('def')
  assert.equal((await buffer(second)).toString(), 'abcdef')
  assert.equal(body.replayable, false)
})

test('single bytes do not pin the buffers they came in', async () => {
  const slab = Buffer.alloc(64 * 1024)
  const body = new ReplayableBody(Readable.from([slab.subarray(7, 8)]), never)
  await buffer(body.open())
  slab[7] = 9
  assert.deepEqual(await buffer(body.open()), Buffer.from([0]))
})

test('a slow reader holds the source back', async () => {
  const source = new PassThrough({ highWaterMark: 16 })
  const body = new ReplayableBody(source, () => undefined)
  const reader = body.open()
  reader.read(0)
  let written = 0
  while (source.write(Buffer.alloc(1_024)) || source.readableFlowing === true) {
    written += 1_024
    assert.ok(written < 1024 * 1024, 'it takes without end')
    await new Promise((resolve) => setImmediate(resolve))
  }
  assert.equal(source.isPaused(), true)
  body.close()
})
