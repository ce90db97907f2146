/** A site whose every byte is given, and which answers honestly where none is. */
import { once } from 'node:events'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import { piecesOf } from './input.ts'
import type { ResponseInput } from './responses.ts'

/** A site that answers with whatever bytes it has been given for a path. */
export class FuzzedSite {
  readonly port: number
  readonly #server: Server
  readonly #scripts = new Map<string, { readonly input: ResponseInput; readonly written: () => void }>()
  readonly #sockets = new Set<Socket>()

  private constructor(server: Server) {
    this.#server = server
    this.port = (server.address() as AddressInfo).port
    server.on('connection', (socket) => this.#accept(socket))
  }

  static async start(): Promise<FuzzedSite> {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    return new FuzzedSite(server)
  }

  /** Resolves when all of it has been written, or nobody is there to have it. */
  script(path: string, input: ResponseInput): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#scripts.set(path, { input, written: resolve })
    return promise
  }

  forget(path: string): void {
    this.#scripts.delete(path)
  }

  /** Idempotent. */
  async close(): Promise<void> {
    if (!this.#server.listening) return
    for (const socket of this.#sockets) socket.destroy()
    this.#server.close()
    await once(this.#server, 'close')
  }

  #accept(socket: Socket): void {
    this.#sockets.add(socket)
    socket.setNoDelay(true)
    socket.on('error', () => {})
    socket.once('close', () => this.#sockets.delete(socket))
    let text = ''
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1')
      // The gateway's own framing is checked elsewhere; here the bodies have a length.
      const end = text.indexOf('\r\n\r\n')
      const length = Number(/\r\ncontent-length: (\d+)\r\n/.exec(text)?.[1] ?? 0)
      if (end === -1 || text.length < end + 4 + length) return
      const path = text.split(' ', 2)[1] ?? ''
      text = text.slice(end + 4 + length)
      void this.#answer(socket, path)
    })
  }

  async #answer(socket: Socket, path: string): Promise<void> {
    const script = this.#scripts.get(path)
    if (script === undefined) {
      socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${path.length}\r\nx-honest: ${path}\r\n\r\n${path}`)
      return
    }
    for (const [i, piece] of piecesOf(script.input).entries()) {
      if (i > 0) await turn()
      if (socket.writable) socket.write(piece)
    }
    if (script.input.end === 'fin') socket.end()
    else if (script.input.end === 'reset') {
      // Behind the bytes, not over them.
      await turn()
      socket.resetAndDestroy()
    }
    script.written()
  }
}
