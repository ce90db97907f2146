/**
 * The blocks that hold in this process: found by caller, forgotten when their time is over. Who has set them, and where
 * they are kept, is somebody else's business (shared-blocks.ts).
 */
import type { Peer } from '../../core/attributes.ts'
import { type Block, coversHost, readSource } from '../../core/block.ts'

export type HeldBlock = {
  readonly block: Block
  /** performance.now() at which it ends: a jump of the wall clock changes nothing. */
  readonly until: number
}

type BlockEvent = 'block_set' | 'block_removed'

/** setTimeout holds no more. */
const MAX_TIMER_MS = 2 ** 31 - 1

export class Blocks {
  #held: ReadonlyMap<string, HeldBlock> = new Map()
  readonly #principals = new Map<string, HeldBlock[]>()
  readonly #namespaces = new Map<string, HeldBlock[]>()
  #everybody: HeldBlock[] = []
  #timer: NodeJS.Timeout | null = null
  #onChange: () => void = () => undefined
  #onEach: (event: BlockEvent, block: Block) => void = () => undefined
  /** Requests and tunnels refused or ended by a block since the start. */
  refused = 0

  /** 0: nothing is blocked. */
  get size(): number {
    return this.#held.size
  }

  /** Called after a change that may cover what is open. */
  onChange(listener: () => void): void {
    this.#onChange = listener
  }

  /** Called for each block that begins or ceases to hold here, whoever has set or lifted it. For the audit stream. */
  onEach(listener: (event: BlockEvent, block: Block) => void): void {
    this.#onEach = listener
  }

  list(): readonly HeldBlock[] {
    return [...this.#held.values()].filter(({ until }) => until > performance.now())
  }

  get(id: string): HeldBlock | null {
    return this.#held.get(id) ?? null
  }

  /** From now on these hold, and no others. */
  replace(all: Iterable<HeldBlock>): void {
    const now = performance.now()
    const next = new Map<string, HeldBlock>()
    for (const held of all) if (held.until > now) next.set(held.block.id, held)
    const before = this.#held
    const fresh = [...next.keys()].some((id) => !before.has(id))
    this.#held = next
    this.#index()
    this.#watch()
    for (const { block } of next.values()) if (!before.has(block.id)) this.#onEach('block_set', block)
    for (const { block } of before.values()) if (!next.has(block.id)) this.#onEach('block_removed', block)
    if (fresh) this.#onChange()
  }

  add(held: HeldBlock): void {
    this.replace([...this.#held.values(), held])
  }

  /** False: there is none of that id. */
  delete(id: string): boolean {
    if (!this.#held.has(id)) return false
    this.replace([...this.#held.values()].filter(({ block }) => block.id !== id))
    return true
  }

  /** The block that covers this caller on its way to these hosts (canonical, without port), or null. */
  covering(peer: Peer, hosts: readonly string[]): Block | null {
    const now = performance.now()
    const find = (candidates: readonly HeldBlock[] | undefined): Block | null => {
      for (const { block, until } of candidates ?? [])
        if (until > now && (block.to === null || hosts.some((host) => coversHost(block, host)))) return block
      return null
    }
    const everybody = find(this.#everybody)
    if (everybody !== null || peer.kind !== 'spiffe') return everybody
    return find(this.#principals.get(peer.id.uri)) ?? find(this.#namespaces.get(peer.id.namespace ?? ''))
  }

  close(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
  }

  #index(): void {
    this.#principals.clear()
    this.#namespaces.clear()
    this.#everybody = []
    const add = (index: Map<string, HeldBlock[]>, key: string, held: HeldBlock) => {
      const known = index.get(key)
      if (known === undefined) index.set(key, [held])
      else known.push(held)
    }
    for (const held of this.#held.values()) {
      const source = readSource(held.block.from)
      if (source.kind === 'all') this.#everybody.push(held)
      else if (source.kind === 'principal') add(this.#principals, source.uri, held)
      else add(this.#namespaces, source.namespace, held)
    }
  }

  /** Wakes up at the next end. */
  #watch(): void {
    this.close()
    if (this.#held.size === 0) return
    const next = Math.min(...[...this.#held.values()].map(({ until }) => until))
    const wait = Math.min(Math.max(1, Math.ceil(next - performance.now())), MAX_TIMER_MS)
    this.#timer = setTimeout(() => this.replace(this.#held.values()), wait).unref()
  }
}
