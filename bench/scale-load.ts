/** Callers and the outside of `bench:scale`: keep-alive requests over mTLS, each as soon as the last one is answered. */
import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { meshConnect } from '../src/testing/mesh-client.ts'
import type { TestCertificate, TestPki } from '../src/testing/pki.ts'

const BODY = 'x'.repeat(1024)
const CONNECTIONS = 16

export class ScaleLoad {
  readonly originPort: number
  readonly #pki: TestPki
  readonly #svid: TestCertificate
  readonly #origin: http.Server

  private constructor(pki: TestPki, svid: TestCertificate, origin: http.Server) {
    this.#pki = pki
    this.#svid = svid
    this.#origin = origin
    this.originPort = (origin.address() as AddressInfo).port
  }

  static async start(pki: TestPki): Promise<ScaleLoad> {
    const origin = http.createServer((_request, response) => response.end(BODY))
    origin.keepAliveTimeout = 3_600_000
    origin.listen(0, '127.0.0.1')
    await once(origin, 'listening')
    return new ScaleLoad(pki, await pki.svid('default/sleep'), origin)
  }

  close(): void {
    this.#origin.close()
    this.#origin.closeAllConnections()
  }

  /** Connections that have had a request for `host` each: before the first one a gateway does not wait for long. */
  async connect(port: number, host: string): Promise<readonly TLSSocket[]> {
    const open = async () => {
      const socket = await meshConnect({ port, svid: this.#svid, ca: this.#pki.root })
      await run([socket], [host], 1)
      return socket
    }
    return Promise.all(Array.from({ length: CONNECTIONS }, open))
  }
}

/** `count` requests over all of `sockets`; the host of each is the next of `hosts`. @throws unless all are answered 200 */
export async function run(sockets: readonly TLSSocket[], hosts: readonly string[], count: number): Promise<void> {
  let sent = 0
  const heads = hosts.map((host) =>
    Buffer.from(`GET /anything HTTP/1.1\r\nhost: ${host}\r\nuser-agent: bench\r\naccept: */*\r\n\r\n`),
  )
  const next = () => heads[sent++ % heads.length] as Buffer
  await Promise.all(
    sockets.map(async (socket) => {
      while (sent < count) await answered(socket, next())
    }),
  )
}

/** Milliseconds that the longest of the requests took which were sent one after the other until `done` settles. */
export async function longest(socket: TLSSocket, host: string, done: Promise<unknown>): Promise<number> {
  let waiting = true
  void done.finally(() => (waiting = false))
  let most = 0
  while (waiting) {
    const start = performance.now()
    await run([socket], [host], 1)
    most = Math.max(most, performance.now() - start)
  }
  return most
}

async function answered(socket: TLSSocket, head: Buffer): Promise<void> {
  if (socket.destroyed) throw new Error('the gateway has closed a connection')
  let text = ''
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const onData = (chunk: Buffer) => {
    text += chunk.toString('latin1')
    const end = text.indexOf('\r\n\r\n')
    if (end === -1 || text.length < end + 4 + BODY.length) return
    if (text.startsWith('HTTP/1.1 200 ')) resolve()
    else reject(new Error(text.slice(0, end)))
  }
  const onClose = () => reject(new Error(`closed: ${text}`))
  socket.on('data', onData)
  socket.once('close', onClose)
  socket.write(head)
  try {
    await promise
  } finally {
    socket.off('data', onData)
    socket.off('close', onClose)
  }
}
