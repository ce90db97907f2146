/** Real hellos from Node's own client, cut everywhere; hostile bytes (threat 33). */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { test } from 'node:test'
import tls from 'node:tls'
import fc from 'fast-check'
import { readClientHello } from './client-hello.ts'

async function capture(options: tls.ConnectionOptions): Promise<Buffer> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = tls.connect({
    host: '127.0.0.1',
    port: (server.address() as AddressInfo).port,
    rejectUnauthorized: false,
    ...options,
  })
  client.on('error', () => {})
  const [socket] = (await once(server, 'connection')) as [import('node:net').Socket]
  socket.on('error', () => {})
  let bytes = Buffer.alloc(0)
  while (readClientHello(bytes).kind === 'incomplete')
    bytes = Buffer.concat([bytes, ((await once(socket, 'data')) as [Buffer])[0]])
  client.destroy()
  socket.destroy()
  server.close()
  return bytes
}

test('SNI and ALPN of a real hello; every prefix is incomplete', async () => {
  const bytes = await capture({ servername: 'Edition.CNN.com', ALPNProtocols: ['istio-peer-exchange', 'istio'] })
  assert.ok(bytes.length > 1460, 'a hello of today does not fit one segment')
  assert.deepEqual(readClientHello(bytes), {
    kind: 'found',
    sni: 'edition.cnn.com',
    alpn: ['istio-peer-exchange', 'istio'],
  })
  for (let cut = 0; cut < bytes.length; cut++)
    assert.equal(readClientHello(bytes.subarray(0, cut)).kind, 'incomplete', `prefix of ${cut}`)
})

test('no SNI, no ALPN', async () => {
  assert.deepEqual(readClientHello(await capture({})), { kind: 'found', sni: null, alpn: [] })
})

test('a hello split over many records reads the same', async () => {
  const bytes = await capture({ servername: 'a.example' })
  const message = bytes.subarray(5)
  const records: Buffer[] = []
  for (let i = 0; i < message.length; i += 3) {
    const piece = message.subarray(i, i + 3)
    records.push(Buffer.from([0x16, 3, 1, 0, piece.length]), piece)
  }
  assert.deepEqual(readClientHello(Buffer.concat(records)), { kind: 'found', sni: 'a.example', alpn: [] })
})

test('bytes that are no ClientHello are told apart at once', () => {
  assert.equal(readClientHello(Buffer.from('GET / HTTP/1.1\r\n')).kind, 'invalid')
  assert.equal(readClientHello(Buffer.from([0x16, 3, 1, 0, 4, 2, 0, 0, 0])).kind, 'invalid')
  assert.equal(readClientHello(Buffer.from([0x16, 3, 1, 0, 4, 1, 255, 255, 255])).kind, 'invalid')
  assert.equal(readClientHello(Buffer.from([0x80, 0x2e, 1, 3, 1])).kind, 'invalid')
})

test('property: mutated hellos never throw', async () => {
  const hello = await capture({ servername: 'a.example', ALPNProtocols: ['h2'] })
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(hello.length - 1), fc.nat(255)), { maxLength: 8 }), (edits) => {
      const copy = Buffer.from(hello)
      for (const [at, value] of edits) copy[at] = value
      assert.ok(['found', 'incomplete', 'invalid'].includes(readClientHello(copy).kind))
    }),
    { numRuns: 2000 },
  )
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => void readClientHello(Buffer.from(bytes))))
})
