/** A caller that asks for one thing after another, and shows everything that came back. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { type Answers, readAnswers } from './answers.ts'

/** What has not come by then never will, milliseconds. */
const PATIENCE_MS = 20_000

/** A caller's connection: one request at a time. */
export class Caller {
  readonly #socket: Socket
  #text = ''
  closed = false
  #wake: (() => void) | null = null

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.on('error', () => {})
    socket.on('data', (chunk: Buffer) => {
      this.#text += chunk.toString('latin1')
      this.#wake?.()
    })
    socket.once('close', () => {
      this.closed = true
      this.#wake?.()
    })
  }

  static async open(port: number): Promise<Caller> {
    const socket = connect({ host: '127.0.0.1', port })
    await once(socket, 'connect')
    return new Caller(socket)
  }

  /** Everything that has come since the last request, when there is an answer or an end. null: neither came. */
  async ask(method: string, path: string, host: string): Promise<Answers | null> {
    const body = method === 'POST' ? 'hello' : ''
    const length = method === 'POST' ? `content-length: ${body.length}\r\n` : ''
    this.#text = ''
    this.#socket.write(`${method} ${path} HTTP/1.1\r\nhost: ${host}\r\n${length}\r\n${body}`)
    let late = false
    const timer = setTimeout(() => {
      late = true
      this.#wake?.()
    }, PATIENCE_MS)
    for (;;) {
      const answers = this.read(method)
      if (late || this.closed || answers.broken !== null || answers.answers.length > 0) {
        clearTimeout(timer)
        return late ? null : answers
      }
      const { promise, resolve } = Promise.withResolvers<void>()
      this.#wake = resolve
      await promise
    }
  }

  read(method: string): Answers {
    return readAnswers(this.#text, [method])
  }

  end(): void {
    this.#socket.destroy()
  }
}
