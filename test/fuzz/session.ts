/** A caller's connection: inputs one behind the other, as long as both sides keep it, and everything that came back. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import { type Answers, lists, readAnswers } from './answers.ts'
import { type Input, piecesOf } from './input.ts'
import { type Message, nodesRequests, type Reading } from './node-reader.ts'

/** An answer that has not come by then never will, milliseconds: far beyond what a busy machine takes. */
const PATIENCE_MS = 20_000

const LINE_END = new Set([13, 10])

export class Session {
  readonly inputs: Input[] = []
  /** What Node reads in all inputs together. */
  readonly messages: Message[] = []
  ending: Reading['ending'] = 'clean'
  /** The gateway has closed the connection before we did. */
  left = false
  /** Neither an answer nor an end came. */
  hung = false
  readonly address: string
  readonly #socket: Socket
  #text = ''
  #answers: Answers = { answers: [], interim: 0, rest: '', broken: null }
  #ended = false
  #more: (() => void) | null = null

  private constructor(socket: Socket) {
    this.#socket = socket
    this.address = `${socket.localAddress}:${socket.localPort}`
    socket.setNoDelay(true)
    socket.on('error', () => {})
    socket.on('data', (chunk: Buffer) => {
      this.#text += chunk.toString('latin1')
      this.#wake()
    })
    socket.once('end', () => {
      this.left = !this.#ended
      socket.end()
      this.#wake()
    })
    socket.once('close', () => {
      if (!this.#ended) this.left = true
      this.#wake()
    })
  }

  /** `index` spreads connections over loopback addresses, so that no two of a batch look the same in the log. */
  static async open(port: number, index: number): Promise<Session> {
    const localAddress = `127.0.${1 + (index % 250)}.${1 + (Math.floor(index / 250) % 250)}`
    const socket = connect({ host: '127.0.0.1', port, localAddress })
    await once(socket, 'connect')
    return new Session(socket)
  }

  get answers(): Answers {
    return this.#answers
  }

  /** Sends one input and waits for what must come of it. True: the connection can take another. */
  async send(input: Input): Promise<boolean> {
    const reading = await nodesRequests(input.bytes)
    this.inputs.push(input)
    this.messages.push(...reading.messages)
    this.ending = reading.ending
    for (const [i, piece] of piecesOf(input).entries()) {
      // A turn of the event loop, so that pieces arrive as pieces.
      if (i > 0) await turn()
      if (this.left || !this.#socket.writable) break
      this.#socket.write(piece)
    }
    const expected = this.messages.filter(({ whole }) => whole).length
    await this.#until(() => this.#answers.answers.length >= expected)
    if (this.left || this.hung) return false
    // What is not one answer per request by now comes at once, or never.
    await turn()
    await turn()
    const last = this.messages.at(-1)
    const answer = this.#answers.answers.at(-1)
    if (answer === undefined || lists(answer.fields, 'close')) return false
    return this.ending === 'clean' && !this.left && last !== undefined && !lists(last.fields, 'close')
  }

  /** The last input ends with empty lines that Node passes over: without them it reads the same. */
  async blankBehind(): Promise<boolean> {
    const bytes = this.inputs.at(-1)?.bytes ?? Buffer.alloc(0)
    if (this.ending !== 'clean' || !LINE_END.has(bytes.at(-1) ?? 0)) return false
    const [all, less] = await Promise.all([nodesRequests(bytes), nodesRequests(bytes.subarray(0, -1))])
    return JSON.stringify(all) === JSON.stringify(less)
  }

  /** Ends our side, and waits for the other. */
  async end(): Promise<void> {
    this.#ended = !this.left
    this.#socket.end()
    if (!this.#socket.closed) {
      const timer = setTimeout(() => {
        this.hung = true
        this.#socket.destroy()
      }, PATIENCE_MS)
      // Not events.once: that takes a reset for a failure.
      await new Promise((resolve) => this.#socket.once('close', resolve))
      clearTimeout(timer)
    }
    this.#look()
  }

  #look(): boolean {
    this.#answers = readAnswers(
      this.#text,
      this.messages.map(({ start }) => start.slice(0, start.indexOf(' '))),
      this.messages.some(({ minorVersion }) => minorVersion !== 1) && this.#socket.readableEnded,
    )
    return this.#answers.broken !== null
  }

  async #until(enough: () => boolean): Promise<void> {
    const timer = setTimeout(() => {
      this.hung = true
      this.#wake()
    }, PATIENCE_MS)
    while (!this.#look() && !enough() && !this.left && !this.hung) {
      const { promise, resolve } = Promise.withResolvers<void>()
      this.#more = resolve
      await promise
    }
    clearTimeout(timer)
  }

  #wake(): void {
    this.#more?.()
    this.#more = null
  }
}
