/** Every open tunnel: counted, and judged again when the configuration changes (contract §9). */
import type { ExchangeRecord } from '../observe/record.ts'
import type { Snapshot } from './snapshot.ts'

/** Why a tunnel is closed before its own end. */
export type TunnelClosing = 'policy_changed' | 'draining' | 'blocked' | 'rate_limited'

export type OpenTunnel = {
  /** True when the snapshot forbids it. */
  readonly forbiddenBy: (snapshot: Snapshot) => boolean
  /** `details`: replaces the record's response code details. */
  readonly close: (reason: TunnelClosing, details?: string) => void
  /** As far as it is known by now. */
  readonly record: ExchangeRecord
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

  /** Closes at once what `verdict` answers details for. */
  closeCovered(reason: TunnelClosing, verdict: (record: ExchangeRecord) => string | null): void {
    for (const tunnel of [...this.#open]) {
      const details = verdict(tunnel.record)
      if (details !== null) tunnel.close(reason, details)
    }
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
