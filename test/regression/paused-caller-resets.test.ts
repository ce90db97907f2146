/**
 * A caller whose upload waits for a slow site is not read; that it reset its connection was noticed when the site read on, or
 * never. Nothing is read for it now either: an empty write tells.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { test } from 'node:test'
import { connect, type TLSSocket } from 'node:tls'
import { withEngine } from '../../src/testing/engine.ts'
import { eventually } from '../../src/testing/eventually.ts'
import { plainConnect, SIDECAR_SNI } from '../../src/testing/mesh-client.ts'
import { startRawOrigin } from '../../src/testing/origin.ts'
import type { TestCertificate } from '../../src/testing/pki.ts'
import { HOST, startSite } from '../integration/site.ts'

/** Writes until nobody takes any more. */
async function fill(socket: Socket): Promise<void> {
  const block = Buffer.alloc(1 << 20)
  let written = 0
  let quiet = 0
  socket.on('drain', () => (quiet = 0))
  await eventually('the upload has come to a stop', () => {
    if (socket.writableLength === 0 && written < 200) {
      socket.write(block)
      written += 1
      quiet = 0
    }
    return ++quiet > 60
  })
}

/** mTLS over a socket of ours: one of TLS itself cannot be reset. */
async function secured(raw: Socket, { cert, key, ca }: TestCertificate): Promise<TLSSocket> {
  const socket = connect({ socket: raw, servername: SIDECAR_SNI, ca, cert, key, checkServerIdentity: () => undefined })
  await once(socket, 'secureConnect')
  socket.on('error', () => {})
  return socket
}

for (const carrier of ['plain', 'mesh'] as const) {
  test(`threat 9: ${carrier}: a caller that resets while its upload waits for the site is missed within seconds`, {
    timeout: 60_000,
  }, async (t) => {
    const origin = await startRawOrigin({ onConnection: ({ socket }) => void socket.pause() })
    t.after(() => origin.close())
    const site = await withEngine('wire', () => startSite(t, origin.port))
    const { harness } = site
    const raw = await plainConnect(harness.gateway.port(carrier === 'mesh' ? 443 : 80))
    const socket = carrier === 'mesh' ? await secured(raw, await harness.pki.svid('mytest/sleep')) : raw
    socket.write(`POST / HTTP/1.1\r\nHost: ${HOST}\r\nContent-Length: 1000000000\r\n\r\n`)
    await fill(socket)
    const began = performance.now()
    raw.resetAndDestroy()
    const [line] = await site.harness.lines(1)
    t.diagnostic(`noticed after ${Math.round(performance.now() - began)} ms`)
    assert.deepEqual([line?.['response_code'], line?.['response_flags']], [0, 'DC'])
    await site.quiet()
    await site.harness.stop(1)
  })
}
