/** TLS terminators of the active snapshot, one per TLS configuration; unchanged ones live on across reloads. */
import { createTerminator, type Terminator } from '../listeners/terminate.ts'
import type { ServerPlan, Snapshot } from '../runtime/snapshot.ts'

export class Terminators {
  readonly #open = new Map<string, Terminator>()

  /** @throws when the server does not terminate TLS or OpenSSL refuses its material */
  get(plan: ServerPlan): Terminator {
    const known = this.#open.get(plan.tlsKey)
    if (known !== undefined) return known
    const { tls } = plan.model
    if (tls === null || plan.material === null) throw new Error(`server ${plan.model.name} does not terminate TLS`)
    const terminator = createTerminator(tls, plan.material)
    this.#open.set(plan.tlsKey, terminator)
    return terminator
  }

  /** Makes every terminator a snapshot needs, so that a bad certificate fails the reload and not a handshake. */
  prepare(next: Snapshot): void {
    for (const server of servers(next)) if (server.material !== null) this.get(server)
  }

  /** Lets go of what the active snapshot does not use. */
  keepOnly(active: Snapshot): void {
    const used = new Set(servers(active).map(({ tlsKey }) => tlsKey))
    for (const [key, terminator] of this.#open) {
      if (used.has(key)) continue
      terminator.close()
      this.#open.delete(key)
    }
  }

  close(): void {
    for (const terminator of this.#open.values()) terminator.close()
    this.#open.clear()
  }
}

function servers(snapshot: Snapshot): ServerPlan[] {
  return [...snapshot.listeners.values()].flatMap((listener) => [...listener.servers])
}
