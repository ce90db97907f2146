/**
 * No byte changes on its way, however many tunnels share memory and however slowly some are read; nobody waits for
 * another; idle tunnels hold no buffers.
 */
import assert from 'node:assert/strict'
import { createCipheriv, createHash, type Hash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { test } from 'node:test'
import tls from 'node:tls'
import { eventually } from '../testing/eventually.ts'
import { collectGarbage } from '../testing/garbage.ts'
import { createTestPki } from '../testing/pki.ts'
import { BulkReader } from './bulk-reader.ts'
import { Splice, type SpliceEnd } from './splice.ts'

const MB = 1 << 20

type Tunnel = {
  readonly down: Socket
  readonly up: Socket
  readonly splice: Splice
  readonly ended: Promise<SpliceEnd>
}
type Path = { readonly near: Socket; readonly far: Socket; readonly tunnel: Tunnel }

async function listening(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

/** A gateway of nothing but splices, its outside, and callers of it. */
class World {
  readonly #servers: Server[] = []
  readonly #far: Socket[] = []
  readonly #tunnels: Tunnel[] = []
  readonly #connect: () => Promise<Socket>

  private constructor(connect: () => Promise<Socket>) {
    this.#connect = connect
  }

  /** `secured`: the caller's side is TLS that the gateway terminates. */
  static async start(secured = false): Promise<World> {
    const pki = await createTestPki()
    const { cert, key } = await pki.serverCert('gateway.example')
    const port = { gateway: 0 }
    const world = new World(async () => {
      const at = { host: '127.0.0.1', port: port.gateway, allowHalfOpen: true }
      const socket = secured ? tls.connect({ ...at, ca: pki.root, servername: 'gateway.example' }) : connect(at)
      await once(socket, secured ? 'secureConnect' : 'connect')
      socket.on('error', () => {})
      return socket
    })
    const outside = createServer({ allowHalfOpen: true }, (socket) => {
      socket.on('error', () => {})
      world.#far.push(socket)
    })
    const out = await listening(outside)
    const accept = (down: Socket): void => {
      down.on('error', () => {})
      down.allowHalfOpen = true
      const reader = new BulkReader()
      const up = reader.connect({ host: '127.0.0.1', port: out })
      up.on('error', () => {})
      up.allowHalfOpen = true
      up.removeAllListeners('end')
      up.once('connect', () => {
        const ended = Promise.withResolvers<SpliceEnd>()
        const splice = new Splice(down, up, { idleMs: 0, maxMs: 0 }, ended.resolve, reader)
        world.#tunnels.push({ down, up, splice, ended: ended.promise })
      })
    }
    const gateway = secured
      ? tls.createServer({ cert, key, allowHalfOpen: true }, accept)
      : createServer({ allowHalfOpen: true }, accept)
    port.gateway = await listening(gateway)
    world.#servers.push(outside, gateway)
    return world
  }

  /** One after the other, so that the ends belong together. */
  async open(): Promise<Path> {
    const index = this.#tunnels.length
    const near = await this.#connect()
    return eventually('a tunnel', () => {
      const [far, tunnel] = [this.#far[index], this.#tunnels[index]]
      return far === undefined || tunnel === undefined ? null : { near, far, tunnel }
    })
  }

  close(): void {
    for (const { down, up } of this.#tunnels) {
      down.destroy()
      up.destroy()
    }
    for (const socket of this.#far) socket.destroy()
    for (const server of this.#servers) server.close()
  }
}

/** Bytes that are different everywhere, written in pieces of every length; then FIN. Resolves with their hash. */
async function sendNoise(socket: Socket, length: number): Promise<string> {
  const noise = createCipheriv('aes-128-ctr', randomBytes(16), randomBytes(16))
  const hash = createHash('sha256')
  const zeros = Buffer.alloc(300_000)
  for (let sent = 0; sent < length; ) {
    const size = Math.min(length - sent, 1 + ((sent * 7919) % zeros.length))
    const piece = noise.update(zeros.subarray(0, size))
    hash.update(piece)
    sent += size
    if (!socket.write(piece)) await once(socket, 'drain')
  }
  socket.end()
  return hash.digest('hex')
}

/** `pace`: after each piece so many turns of the event loop pass before the next is read. Resolves at FIN. */
async function hashOf(socket: Socket, pace: number): Promise<string> {
  const hash: Hash = createHash('sha256')
  socket.on('data', (chunk: Buffer) => {
    hash.update(chunk)
    if (pace === 0) return
    socket.pause()
    let turns = pace
    const wait = (): void => {
      turns -= 1
      if (turns > 0) setImmediate(wait)
      else socket.resume()
    }
    setImmediate(wait)
  })
  await once(socket, 'end')
  return hash.digest('hex')
}

for (const secured of [false, true]) {
  const name = secured ? 'TLS callers' : 'plain callers'
  const size = 12 * MB

  test(`${name}: what fast, slow, stuck and vanishing tunnels carry at once, both ways, arrives unchanged`, async (t) => {
    const world = await World.start(secured)
    t.after(() => world.close())
    const paths: Path[] = []
    for (let i = 0; i < 10; i++) paths.push(await world.open())
    const sums: Promise<readonly [what: string, sent: string, received: string]>[] = []
    const carry = async (what: string, from: Socket, to: Socket, pace: number) => {
      const [sent, received] = await Promise.all([sendNoise(from, size), hashOf(to, pace)])
      return [what, sent, received] as const
    }
    for (const [index, { near, far, tunnel }] of paths.entries()) {
      if (index < 2) {
        // Stuck: both sides of the gateway wait in the middle of a write while all others go on; then one is read, one dies.
        const [down, up] = [sendNoise(far, size), sendNoise(near, size)]
        down.catch(() => {})
        up.catch(() => {})
        const stuck = () => tunnel.down.writableLength > 0 && tunnel.up.writableLength > 0
        sums.push(
          eventually('it is stuck', stuck).then(async () => {
            await sums[2]
            assert.ok(stuck())
            if (index === 1) {
              near.destroy()
              far.destroy()
              await tunnel.ended
              return ['vanished', '', ''] as const
            }
            const received = await Promise.all([hashOf(near, 0), hashOf(far, 0)])
            return ['stuck', (await Promise.all([down, up])).join(), received.join()] as const
          }),
        )
        continue
      }
      const pace = index % 3
      sums.push(carry(`tunnel ${index} down`, far, near, pace), carry(`tunnel ${index} up`, near, far, pace))
    }
    for (const [what, sent, received] of await Promise.all(sums)) assert.equal(received, sent, what)
    for (const [index, { tunnel }] of paths.entries()) {
      if (index === 1) continue
      assert.equal(await tunnel.ended, 'finished')
      assert.deepEqual([tunnel.splice.bytesUp, tunnel.splice.bytesDown], [size, size])
    }
  })
}

test('two hundred tunnels that have carried much and are idle hold no buffers', async (t) => {
  const world = await World.start()
  t.after(() => world.close())
  const paths: Path[] = []
  for (let i = 0; i < 200; i++) paths.push(await world.open())
  const carry = async () => {
    await Promise.all(
      paths.map(async ({ near, far }, index) => {
        const bytes = Buffer.alloc(MB + index * 1000, 'x')
        for (const [from, to] of [
          [far, near],
          [near, far],
        ] as const) {
          let count = 0
          const done = new Promise<void>((resolve) => {
            to.on('data', (chunk: Buffer) => {
              count += chunk.length
              if (count === bytes.length) resolve()
            })
          })
          from.write(bytes)
          await done
          to.removeAllListeners('data')
          to.pause()
        }
      }),
    )
  }
  const held = () => {
    collectGarbage()
    return process.memoryUsage().arrayBuffers
  }
  const before = held()
  await carry()
  const extra = await eventually('memory is back', () => {
    const now = held() - before
    return now < 12 * MB ? now + 1 : null
  })
  assert.ok(extra < 12 * MB, `${extra / MB} MB are held by 200 idle tunnels`)
})
