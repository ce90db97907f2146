/** Every open tunnel: counted, and judged again when the configuration changes (contract §9). */
import type { Snapshot } from './snapshot.ts'

/** Why a tunnel is closed before its own end. */
export type TunnelClosing = 'policy_changed' | 'draining' | 'blocked' | 'rate_limited'

export type OpenTunnel = {
  /** True when the snapshot forbids it. */
  readonly forbiddenBy: (snapshot: Snapshot) => boolean
  readonly close: (reason: TunnelClosing) => void
}

/** Forbidden tunnels are closed within this time, spread out so that their callers do not all come back at once. */
const CLOSE_WITHIN_MS = 4000

export class Tunnels {
  readonly #open = new Set<OpenTunnel>()

  get size(): number {
    return this.#open.size
  }

  add(tunnel: OpenTunnel): void {
    this.#open.add(tunnel)
  }

  delete(tunnel: OpenTunnel): void {
    this.#open.delete(tunnel)
  }

  /** Closes what `next` forbids. A tunnel that is allowed again before its turn comes (`active`) stays. */
  judgeAgain(next: Snapshot, active: () => Snapshot): void {
    const forbidden = [...this.#open].filter((tunnel) => tunnel.forbiddenBy(next))
    const [first, ...others] = forbidden
    first?.close('policy_changed')
    for (const tunnel of others) {
      setTimeout(() => {
        if (this.#open.has(tunnel) && tunnel.forbiddenBy(active())) tunnel.close('policy_changed')
      }, Math.random() * CLOSE_WITHIN_MS).unref()
    }
  }
}
