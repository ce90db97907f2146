/**
 * Keeps this process's blocks in step with those of all gateways: told by a channel, read again at every connection and
 * every two seconds, since what a channel says while nobody listens is lost. What cannot be read stays as it was; what the
 * store has lost, it gets back.
 */
import type { Block } from '../../core/block.ts'
import type { RedisSettings } from '../../model/redis.ts'
import type { Log } from '../../observe/log.ts'
import { listenTo } from '../redis/control.ts'
import type { Blocks, HeldBlock } from './blocks.ts'
import { BlockRegister, blocksChannel, type Register } from './register.ts'

const POLL_MS = 2000
const NEARLY_OVER_MS = 3000
/** How long a start waits to learn what is blocked. */
const START_MS = 2000

export class SharedBlocks {
  readonly #blocks: Blocks
  readonly #log: Log
  readonly #register: BlockRegister
  readonly #channel: { close(): void; recover(): void }
  readonly #poll: NodeJS.Timeout
  readonly #first = Promise.withResolvers<void>()
  /** Said once each. */
  readonly #complained = new Set<string>()
  #reading = false
  #again = false
  #readable = true

  constructor(settings: RedisSettings, blocks: Blocks, log: Log) {
    this.#blocks = blocks
    this.#log = log
    this.#register = new BlockRegister(settings)
    this.#register.onReady(() => this.#read())
    this.#channel = listenTo(settings, blocksChannel(settings), () => this.#read())
    this.#poll = setInterval(() => this.#read(), POLL_MS)
    this.#poll.unref()
  }

  /** Resolves when it is known what is blocked, at the latest after two seconds. */
  async ready(): Promise<void> {
    const late = Promise.withResolvers<void>()
    const timer = setTimeout(() => {
      this.#log.warning('started without knowing what is blocked: Redis has not told yet', { store: 'redis' })
      late.resolve()
    }, START_MS)
    await Promise.race([this.#first.promise, late.promise])
    clearTimeout(timer)
  }

  /** Blocks here at once, everywhere when Redis has heard of it. False: Redis could not be told; it will be when it is back. */
  async put(block: Block, forMs: number): Promise<boolean> {
    this.#blocks.add({ block, until: performance.now() + forMs })
    try {
      this.#apply(await this.#register.put(block, forMs))
      return true
    } catch (error) {
      this.#log.warning('a block holds in this process only until Redis answers', { block: block.id, error })
      return false
    }
  }

  /** @throws an Error when Redis cannot be told: it would bring the block back. False: there is none of that id */
  async lift(id: string): Promise<boolean> {
    const known = this.#blocks.get(id)
    // What the store has lost it must know again, to remember that it was lifted.
    if (known !== null)
      await this.#register.restore([{ block: known.block, remainingMs: known.until - performance.now() }])
    const register = await this.#register.lift(id)
    this.#apply(register)
    return register.entries.some((entry) => entry.id === id)
  }

  close(): void {
    clearInterval(this.#poll)
    this.#first.resolve()
    this.#channel.close()
    this.#register.close()
  }

  /** One reading at a time; what is told meanwhile is read after it. */
  #read(): void {
    this.#again = true
    if (this.#reading) return
    this.#reading = true
    void this.#readAll().finally(() => {
      this.#reading = false
    })
  }

  async #readAll(): Promise<void> {
    while (this.#again) {
      this.#again = false
      try {
        const register = await this.#register.read()
        const lost = this.#apply(register)
        if (lost.length > 0) this.#apply(await this.#register.restore(lost))
        if (!this.#readable) this.#log.info('blocks are read from Redis again', { store: 'redis' })
        this.#readable = true
        this.#first.resolve()
      } catch (error) {
        if (this.#readable) this.#channel.recover()
        if (this.#readable)
          this.#log.error('blocks cannot be read from Redis: those known hold', { store: 'redis', error })
        this.#readable = false
      }
    }
  }

  /** Answers what the store does not know any more. */
  #apply(register: Register): readonly { readonly block: Block; readonly remainingMs: number }[] {
    const now = performance.now()
    const next: HeldBlock[] = []
    const listed = new Set<string>()
    for (const { id, remainingMs, block } of register.entries) {
      listed.add(id)
      if (block !== null) next.push({ block, until: now + remainingMs })
    }
    for (const complaint of register.unreadable) this.#complain(complaint)
    const lost = this.#blocks.list().filter(({ block }) => !listed.has(block.id))
    this.#blocks.replace([...next, ...lost])
    // The end of one is not the loss of it: the answer took its time to come.
    return lost
      .map(({ block, until }) => ({ block, remainingMs: until - now }))
      .filter(({ remainingMs }) => remainingMs > NEARLY_OVER_MS)
  }

  #complain(what: string): void {
    if (this.#complained.has(what) || this.#complained.size >= 100) return
    this.#complained.add(what)
    this.#log.error(`a block in Redis cannot be read and is left out: ${what}`, { store: 'redis' })
  }
}
