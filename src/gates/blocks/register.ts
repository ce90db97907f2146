/** Where the blocks of all gateways are kept: one hash in Redis, its clock, its channel. Commands and gateways write here. */
import { type Block, readBlock } from '../../core/block.ts'
import type { RedisSettings } from '../../model/redis.ts'
import { ControlLink } from '../redis/control.ts'
import { BLOCKS } from '../redis/scripts.ts'

/** Of one block: what is left of it, or that it has been lifted. */
export type RegisterEntry = {
  readonly id: string
  readonly remainingMs: number
  /** null: lifted. */
  readonly block: Block | null
}

export type Register = {
  readonly entries: readonly RegisterEntry[] /** What could not be read, in words. */
  readonly unreadable: readonly string[]
}

/** The channel on which every change is told. */
export function blocksChannel(settings: RedisSettings): string {
  return `${settings.keyPrefix}:blocks`
}

export class BlockRegister {
  readonly #link: ControlLink
  readonly #key: string
  readonly #channel: string

  constructor(settings: RedisSettings) {
    this.#link = new ControlLink(settings)
    this.#key = `${settings.keyPrefix}:{blocks}`
    this.#channel = blocksChannel(settings)
  }

  /** Called at every (re)connection. */
  onReady(listener: () => void): void {
    this.#link.onReady(listener)
  }

  /** @throws an Error with what is wrong after `timeoutMs` */
  async ready(timeoutMs: number): Promise<void> {
    return this.#link.ready(timeoutMs)
  }

  async read(): Promise<Register> {
    return this.#ask(['read'])
  }

  async put(block: Block, forMs: number): Promise<Register> {
    return this.#ask(['put', block.id, String(Math.ceil(forMs)), serialise(block), this.#channel])
  }

  /** Puts back what the store has lost (it was emptied, or a replica that lagged took over). */
  async restore(lost: readonly { readonly block: Block; readonly remainingMs: number }[]): Promise<Register> {
    const triples = lost.flatMap(({ block, remainingMs }) => [
      block.id,
      String(Math.ceil(remainingMs)),
      serialise(block),
    ])
    return this.#ask(['restore', ...triples, this.#channel])
  }

  async lift(id: string): Promise<Register> {
    return this.#ask(['lift', id, this.#channel])
  }

  close(): void {
    this.#link.close()
  }

  async #ask(args: readonly string[]): Promise<Register> {
    return readRegister(await this.#link.ask(BLOCKS, this.#key, args))
  }
}

function serialise({ from, to, reason }: Block): string {
  return JSON.stringify({ from, to, reason })
}

/** @throws an Error when it is not what the script answers. An entry that is no block is left out, and told of */
function readRegister(reply: unknown): Register {
  if (!Array.isArray(reply) || reply.length % 3 !== 0 || !reply.every((part) => typeof part === 'string'))
    throw new Error('the store answered something else than blocks')
  const entries: RegisterEntry[] = []
  const unreadable: string[] = []
  for (let i = 0; i < reply.length; i += 3) {
    const [id, left, text] = reply.slice(i, i + 3) as [string, string, string]
    try {
      entries.push({ id, remainingMs: readMs(left), block: text === '-' ? null : readEntry(id, text) })
    } catch (error) {
      unreadable.push(`${JSON.stringify(id)}: ${error instanceof Error ? error.message : String(error)}`)
    }
  }
  return { entries, unreadable }
}

function readMs(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new Error('no time')
  return Number(text)
}

function readEntry(id: string, text: string): Block {
  const value: unknown = JSON.parse(text)
  if (typeof value !== 'object' || value === null) throw new Error('no block')
  const { from, to, reason } = value as Readonly<Record<string, unknown>>
  if (typeof from !== 'string' || typeof reason !== 'string' || (to !== null && typeof to !== 'string'))
    throw new Error('no block')
  return readBlock(id, { from, to, reason })
}
