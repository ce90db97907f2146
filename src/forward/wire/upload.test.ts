import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { PassThrough } from 'node:stream'
import { test } from 'node:test'
import { Upload } from './upload.ts'

const HEAD = 'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n'

test('a request with a body is unsent until its head is written, with the first piece or at the end of the turn', async () => {
  for (const early of [true, false]) {
    const socket = new PassThrough() as unknown as Socket
    const body = new PassThrough()
    const uploaded = Promise.withResolvers<void>()
    const upload = new Upload(socket, body, HEAD, 5, { uploaded: uploaded.resolve, overrun: uploaded.reject })
    upload.begin()
    assert.equal(upload.unsent, true, 'what comes now is no answer to it')
    if (early) body.end('hello')
    const [first] = (await once(socket, 'data')) as [Buffer]
    assert.equal(first.toString(), early ? `${HEAD}hello` : HEAD)
    assert.equal(upload.unsent, false)
    if (!early) body.end('hello')
    await uploaded.promise
  }
})
