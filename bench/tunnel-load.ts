/**
 * Caller and outside of `bench:tunnel`, in one process: tunnels are opened first, then bytes are pushed through all of
 * them at once and counted. `raw` ends send a ClientHello and then plain bytes, so that the ends cost little and the
 * gateway is what is slow; `tls` ends speak real TLS, so that the gateway waits for them and sees small pieces.
 */
import { once } from 'node:events'
import net, { type AddressInfo, type Server, type Socket } from 'node:net'
import tls from 'node:tls'
import { buildHello } from '../src/testing/hello.ts'
import type { TestCertificate, TestPki } from '../src/testing/pki.ts'

export const HOSTS = { raw: 'raw.example', tls: 'tls.example' } as const
export const OUTER_SNI = 'outbound_.443_._.istio-egressgateway.istio-system.svc.cluster.local'
const BLOCK = Buffer.alloc(64 * 1024, 'x')
const SINK = Buffer.alloc(1 << 20)

export type Case = {
  /** What is around the tunnel's bytes: nothing, or the mesh's mTLS. */
  readonly way: 'passthrough' | 'mtls'
  readonly ends: 'raw' | 'tls'
  readonly direction: 'down' | 'up'
  readonly connections: number
}

export class Load {
  readonly ports: { readonly raw: number; readonly tls: number }
  readonly #pki: TestPki
  readonly #svid: TestCertificate
  readonly #servers: readonly Server[]
  /** Far ends, in the order in which they were opened. */
  #far: Socket[] = []
  #arrived: (() => void) | null = null

  private constructor(pki: TestPki, svid: TestCertificate, raw: Server, secured: Server) {
    this.#pki = pki
    this.#svid = svid
    this.#servers = [raw, secured]
    this.ports = { raw: (raw.address() as AddressInfo).port, tls: (secured.address() as AddressInfo).port }
    raw.on('connection', (socket: Socket) => this.#accept(socket))
    secured.on('secureConnection', (socket: Socket) => this.#accept(socket))
  }

  static async start(pki: TestPki): Promise<Load> {
    const { cert, key } = await pki.serverCert(HOSTS.tls)
    const servers = [net.createServer({ allowHalfOpen: true }), tls.createServer({ cert, key })] as const
    for (const server of servers) {
      server.listen(0, '127.0.0.1')
      await once(server, 'listening')
    }
    return new Load(pki, await pki.svid('default/sleep'), ...servers)
  }

  close(): void {
    for (const server of this.#servers) server.close()
  }

  /** Pushes about `bytes` through in all; `cpu` is read when everything is open and again when all has arrived. */
  async run(port: number, what: Case, bytes: number, cpu: () => number): Promise<number> {
    const near: { readonly socket: Socket; readonly received: { bytes: number } }[] = []
    this.#far = []
    for (let i = 0; i < what.connections; i++) {
      const opened = new Promise<void>((resolve) => (this.#arrived = resolve))
      near.push(await this.#open(port, what))
      await opened
    }
    const each = Math.ceil(bytes / what.connections / BLOCK.length) * BLOCK.length
    const before = cpu()
    await Promise.all(
      near.map(async ({ socket, received }, index) => {
        const far = this.#far[index] as Socket
        if (what.direction === 'down') {
          void send(far, each)
          while (received.bytes < each) await once(socket, 'progress')
        } else {
          const counted = count(far, each)
          void send(socket, each)
          await counted
        }
      }),
    )
    const spent = cpu() - before
    for (const { socket } of near) socket.destroy()
    for (const socket of this.#far) socket.destroy()
    return (spent * 1e9) / (each * what.connections)
  }

  #accept(socket: Socket): void {
    socket.on('error', () => {})
    socket.setNoDelay(true)
    socket.once('data', () => {
      socket.pause()
      this.#far.push(socket)
      this.#arrived?.()
    })
  }

  /** A tunnel whose first bytes have been sent; what comes back is counted and forgotten. */
  async #open(port: number, what: Case) {
    const received = { bytes: 0 }
    const onread: net.OnReadOpts = {
      buffer: SINK,
      callback: (length) => {
        received.bytes += length
        target.emit('progress')
        return true
      },
    }
    const inside = what.ends === 'tls'
    const to = { host: '127.0.0.1', port, ...(inside && what.way === 'mtls' ? {} : { onread }) }
    const identity = { ca: this.#pki.root, cert: this.#svid.cert, key: this.#svid.key }
    let socket: Socket
    if (what.way === 'mtls') {
      const mesh = { ...identity, servername: OUTER_SNI, ALPNProtocols: ['istio'] }
      socket = tls.connect({ ...to, ...mesh, checkServerIdentity: () => undefined })
    } else socket = inside ? tls.connect({ ...to, ca: this.#pki.root, servername: HOSTS.tls }) : net.connect(to)
    if (inside && what.way === 'mtls') {
      await once(socket, 'secureConnect')
      socket = tls.connect({ socket, ca: this.#pki.root, servername: HOSTS.tls })
      socket.on('data', (chunk: Buffer) => onread.callback(chunk.length, chunk))
    }
    const target = socket
    socket.on('error', () => {})
    await once(socket, what.way === 'mtls' || inside ? 'secureConnect' : 'connect')
    socket.setNoDelay(true)
    socket.write(inside ? 'x' : buildHello({ names: [HOSTS.raw] }))
    return { socket, received }
  }
}

async function send(socket: Socket, bytes: number): Promise<void> {
  for (let sent = 0; sent < bytes && !socket.destroyed; sent += BLOCK.length)
    if (!socket.write(BLOCK) && socket.writableLength > 0) await once(socket, 'drain').catch(() => {})
}

function count(socket: Socket, bytes: number): Promise<void> {
  return new Promise((resolve, reject) => {
    let received = 0
    socket.on('data', (chunk: Buffer) => {
      received += chunk.length
      if (received >= bytes) resolve()
    })
    socket.once('close', () => reject(new Error(`only ${received} bytes came`)))
    socket.resume()
  })
}
