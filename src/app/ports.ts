/** The bound data ports: new ones are bound before a configuration is swapped in, old ones released after. */
import type { ListenerStats } from '../core/stats.ts'
import { type BoundPort, bindPort } from '../listeners/bound-port.ts'
import type { Environment } from '../listeners/environment.ts'
import type { Endpoint } from '../model/settings.ts'
import type { Snapshot } from '../runtime/snapshot.ts'

export class Ports {
  readonly #bound = new Map<number, BoundPort>()
  /** Of released ports too: counters never fall. */
  readonly #stats: ListenerStats[] = []
  #endpoints: {
    readonly address: string
    readonly others: readonly Endpoint[]
    readonly all: readonly Endpoint[]
  } | null = null

  get bound(): readonly BoundPort[] {
    return [...this.#bound.values()]
  }

  get stats(): readonly ListenerStats[] {
    return this.#stats
  }

  /** @throws when that Gateway port is not bound */
  port(gatewayPort: number): number {
    const bound = this.#bound.get(gatewayPort)
    if (bound === undefined) throw new Error(`Gateway port ${gatewayPort} is not bound`)
    return bound.port
  }

  /** What is bound, and `others`. The same list until something changes: every request that is sent asks. */
  endpoints(address: string, others: readonly Endpoint[]): readonly Endpoint[] {
    const known = this.#endpoints
    if (known !== null && known.address === address && known.others === others) return known.all
    const all = [...[...this.#bound.values()].map(({ port }) => ({ address, port })), ...others]
    this.#endpoints = { address, others, all }
    return all
  }

  /** Binds what `next` adds. @throws an Error that names the port that cannot be bound; then none of them stays bound */
  async bindMissing(next: Snapshot, environment: Environment): Promise<readonly BoundPort[]> {
    const fresh: BoundPort[] = []
    const address = next.settings.bindAddress
    for (const { gatewayPort, bindPort: port } of next.model.listeners) {
      if (this.#bound.has(gatewayPort)) continue
      try {
        fresh.push(await bindPort(environment, gatewayPort, address, port))
      } catch (error) {
        for (const each of fresh) each.close()
        const why = error instanceof Error ? error.message : String(error)
        throw new Error(`Gateway port ${gatewayPort}: cannot listen on ${address}:${port}: ${why}`, { cause: error })
      }
    }
    return fresh
  }

  /** Takes over what `bindMissing` bound. */
  adopt(fresh: readonly BoundPort[]): void {
    this.#endpoints = null
    for (const port of fresh) {
      this.#bound.set(port.gatewayPort, port)
      this.#stats.push(port.stats)
    }
  }

  /** Stops accepting on ports that the active snapshot does not name; their open connections go on. */
  releaseUnused(active: Snapshot): void {
    this.#endpoints = null
    for (const [gatewayPort, port] of this.#bound) {
      if (active.listeners.has(gatewayPort)) continue
      port.close()
      this.#bound.delete(gatewayPort)
    }
  }

  /** Stops accepting everywhere. */
  close(): void {
    for (const port of this.#bound.values()) port.close()
  }
}
