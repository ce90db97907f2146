/** A gateway as a user runs it: `bin/sallyport run -f …` as a child process, known only by what it prints. */
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { EventEmitter, once } from 'node:events'
import path from 'node:path'
import { createInterface, type Interface } from 'node:readline'
import type { Readable } from 'node:stream'

export const SALLYPORT = path.join(import.meta.dirname, '../bin/sallyport')

/** How long to wait for something that takes a second at most, on a busy machine. */
const PATIENCE_MS = 60_000
const STOP_MS = 30_000

/** One line of the access log: as written, and parsed. */
export type AccessLine = { readonly text: string; readonly fields: Readonly<Record<string, unknown>> }

type Message = Readonly<Record<string, unknown>>

export class GatewayProcess implements AsyncDisposable {
  readonly configFile: string
  readonly #child: ChildProcessByStdio<null, Readable, Readable>
  readonly #accessOutput: Interface
  readonly #messageOutput: Interface
  readonly #interrupted: AbortSignal
  readonly #changed = new EventEmitter()
  readonly #accessLog: AccessLine[] = []
  /** What it said on stderr: JSON lines, and plain ones when it could not start. */
  readonly #messages: Message[] = []
  readonly #ended: Promise<number | null>
  #hasEnded = false
  #ports: Readonly<Record<string, number>> = {}
  #generation = 0

  /** Resolves once the gateway says it is ready. @throws when it ends instead, with what it said */
  static async start(configFile: string, interrupted: AbortSignal): Promise<GatewayProcess> {
    const gateway = new GatewayProcess(configFile, interrupted)
    try {
      const ready = await gateway.#message('gateway ready', () => true)
      gateway.#ports = ready['ports'] as Readonly<Record<string, number>>
      gateway.#generation = ready['generation'] as number
    } catch (error) {
      await gateway.stop()
      throw error
    }
    return gateway
  }

  private constructor(configFile: string, interrupted: AbortSignal) {
    this.configFile = configFile
    this.#interrupted = interrupted
    const child = spawn(SALLYPORT, ['run', '-f', configFile], { stdio: ['ignore', 'pipe', 'pipe'] })
    this.#child = child
    this.#accessOutput = createInterface({ input: child.stdout }).on('line', (text) => {
      this.#accessLog.push({ text, fields: parsed(text) })
      this.#changed.emit('change')
    })
    this.#messageOutput = createInterface({ input: child.stderr }).on('line', (text) => {
      this.#messages.push(text.startsWith('{') ? parsed(text) : { message: text })
      this.#changed.emit('change')
    })
    const { promise, resolve } = Promise.withResolvers<number | null>()
    child.once('error', (error) => {
      this.#messages.push({ message: error.message })
      resolve(null)
    })
    // Not `exit`: what it printed last may still be on its way then.
    child.once('close', (code) => resolve(code))
    // The last resort: an exception nobody caught ends the process without unwinding.
    process.on('exit', this.#kill)
    this.#ended = promise.then((code) => {
      process.off('exit', this.#kill)
      this.#hasEnded = true
      this.#changed.emit('change')
      return code
    })
  }

  /** Resolves with the exit code, however the gateway ended; null when a signal killed it. */
  get ended(): Promise<number | null> {
    return this.#ended
  }

  get accessLog(): readonly AccessLine[] {
    return this.#accessLog
  }

  /** Warnings so far: what `sallyport validate` prints too. */
  get warnings(): number {
    return this.#messages.filter(({ level }) => level === 'warning').length
  }

  /** The port that is really bound for a Gateway port. */
  port(gatewayPort: number): number {
    const port = this.#ports[gatewayPort]
    if (port === undefined) throw new Error(`the gateway does not listen for Gateway port ${gatewayPort}`)
    return port
  }

  /** The access-log line with this index, now or when it is written. */
  async accessLine(index: number): Promise<AccessLine> {
    return this.#until(`access-log line ${index + 1}`, () => this.#accessLog[index] ?? null)
  }

  /** Resolves with the new generation once a configuration other than the last known one is active. */
  async reloaded(): Promise<number> {
    const message = await this.#message(
      'configuration activated',
      ({ generation }) => (generation as number) > this.#generation,
    )
    this.#generation = message['generation'] as number
    return this.#generation
  }

  /** Hands over every line the gateway prints from now on: access log and messages. */
  relay(listener: (line: string) => void): void {
    this.#accessOutput.on('line', listener)
    this.#messageOutput.on('line', listener)
  }

  /** SIGTERM, and SIGKILL if that takes too long. Resolves with the exit code. Idempotent. */
  async stop(): Promise<number | null> {
    this.#child.kill('SIGTERM')
    const timer = setTimeout(this.#kill, STOP_MS)
    const code = await this.#ended
    clearTimeout(timer)
    return code
  }

  readonly #kill = (): void => void this.#child.kill('SIGKILL')

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  async #message(text: string, accept: (message: Message) => boolean): Promise<Message> {
    return this.#until(
      `"${text}"`,
      () => this.#messages.find((message) => message['message'] === text && accept(message)) ?? null,
    )
  }

  /** @throws when the gateway ends first, when it takes too long, or when the demo is interrupted */
  async #until<T>(what: string, look: () => T | null): Promise<T> {
    const signal = AbortSignal.any([this.#interrupted, AbortSignal.timeout(PATIENCE_MS)])
    for (;;) {
      const found = look()
      if (found !== null) return found
      if (this.#hasEnded) throw new Error(`the gateway ended before ${what}. It said:\n${this.#said()}`)
      try {
        await once(this.#changed, 'change', { signal })
      } catch {
        this.#interrupted.throwIfAborted()
        throw new Error(`no ${what} after ${PATIENCE_MS / 1000} s. The gateway said:\n${this.#said()}`)
      }
    }
  }

  #said(): string {
    return this.#messages.map((message) => `  ${String(message['message'])}`).join('\n') || '  nothing'
  }
}

function parsed(text: string): Message {
  try {
    return JSON.parse(text) as Message
  } catch {
    return { message: text }
  }
}
