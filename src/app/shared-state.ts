/**
 * What outlives reloads and may be shared with other gateways: the blocks that hold, and the store of global limits.
 * Without `spec.redis` both are this process's own.
 */
import { randomBytes } from 'node:crypto'
import { type Block, BlockError, MAX_BLOCK_MS, readBlock } from '../core/block.ts'
import { Blocks } from '../gates/blocks/blocks.ts'
import { SharedBlocks } from '../gates/blocks/shared-blocks.ts'
import type { LimitStore } from '../gates/limits/store.ts'
import { RedisLimitStore } from '../gates/redis/limit-store.ts'
import { type LinkState, RedisLink } from '../gates/redis/link.ts'
import type { RedisSettings } from '../model/redis.ts'
import type { Log } from '../observe/log.ts'

/** More than anybody would set by hand. */
const MAX_BLOCKS = 1000

/** How long a start waits for the store. */
const START_MS = 2000

/** As an operator reads it. */
export type BlockView = Block & { readonly expires_in_seconds: number }

export type BlockRequest = {
  readonly from: string
  readonly to: string | null
  readonly forMs: number
  readonly reason: string
}

export class SharedState {
  readonly blocks = new Blocks()
  readonly #log: Log
  #settings: RedisSettings | null = null
  #shared: SharedBlocks | null = null
  #link: RedisLink | null = null
  #store: RedisLimitStore | null = null

  constructor(log: Log) {
    this.#log = log
  }

  /** Connects in the background. Of several calls the first counts: `spec.redis` needs a restart. */
  open(settings: RedisSettings | null): void {
    if (settings === null || this.#settings !== null) return
    this.#shared = new SharedBlocks(settings, this.blocks, this.#log)
    this.#settings = settings
  }

  /** Resolves when it is known what is blocked, and the store that limits ask for answers, or two seconds have passed. */
  async ready(): Promise<void> {
    await Promise.all([this.#shared?.ready(), this.#link?.ready(START_MS)])
  }

  /** Connects when it is first asked for. null: there is no spec.redis. */
  limitStore(): LimitStore | null {
    if (this.#settings === null) return null
    this.#link ??= new RedisLink(this.#settings, this.#log)
    this.#store ??= new RedisLimitStore(this.#settings, this.#link)
    return this.#store
  }

  /** null: no limit has asked for the store. */
  storeState(): LinkState | null {
    return this.#link?.state ?? null
  }

  listBlocks(): readonly BlockView[] {
    const now = performance.now()
    return this.blocks
      .list()
      .map(({ block, until }) => ({ ...block, expires_in_seconds: Math.ceil((until - now) / 1000) }))
  }

  /** `shared`: every gateway of this Redis has it. @throws BlockError when it cannot be read */
  async block(request: BlockRequest): Promise<{ readonly block: Block; readonly shared: boolean }> {
    const { forMs } = request
    const block = newBlock(request)
    if (this.blocks.size >= MAX_BLOCKS)
      throw new BlockError(`there are ${MAX_BLOCKS} blocks already: write an AuthorizationPolicy`)
    if (this.#shared === null) this.blocks.add({ block, until: performance.now() + forMs })
    const shared = this.#shared === null ? false : await this.#shared.put(block, forMs)
    this.#log.warning('blocked', { ...block, forMs, shared })
    return { block, shared }
  }

  /** False: there is none of that id. Rejects when Redis cannot be told. */
  async unblock(id: string): Promise<boolean> {
    const known = this.#shared === null ? this.blocks.delete(id) : await this.#shared.lift(id)
    if (known) this.#log.warning('unblocked', { id })
    return known
  }

  async close(): Promise<void> {
    this.#shared?.close()
    this.blocks.close()
    await this.#store?.close()
    this.#link?.close()
  }
}

/** @throws BlockError */
export function newBlock({ forMs, from, reason, to }: BlockRequest): Block {
  if (!(forMs >= 1000 && forMs <= MAX_BLOCK_MS))
    throw new BlockError('for: write how long, between 1s and 2160h (90 days)')
  return readBlock(`b-${randomBytes(6).toString('hex')}`, { from, to, reason })
}
