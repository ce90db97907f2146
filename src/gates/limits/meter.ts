/**
 * What one request or tunnel owes its limits besides what it cost at first: its bytes, at its end and, of a tunnel, every
 * second meanwhile; and the places it holds. A tunnel that is over a limit of bytes is closed.
 */
import type { ExchangeRecord } from '../../observe/record.ts'
import type { LiveTunnel } from '../../runtime/gate.ts'
import type { Hit } from './hit.ts'
import type { LimitServices } from './services.ts'
import type { Verdict } from './store.ts'

type Owing = { readonly hit: Hit; charged: number; asking: boolean }

export class Meter {
  readonly #services: LimitServices
  readonly #holds: readonly Hit[]
  readonly #bytes: readonly Owing[]
  readonly #noted: (hit: Hit, verdict: Verdict) => void
  #tunnel: LiveTunnel | null = null
  #admitted = false
  /** It has ended; perhaps while its limits were still being asked. */
  over = false

  /** `noted` hears of every verdict. */
  constructor(services: LimitServices, hits: readonly Hit[], noted: (hit: Hit, verdict: Verdict) => void) {
    this.#services = services
    this.#noted = noted
    this.#holds = hits.filter(({ limit }) => limit.model.unit === 'tunnels')
    this.#bytes = hits
      .filter(({ limit }) => limit.model.unit === 'bytes')
      .map((hit) => ({ hit, charged: 0, asking: false }))
  }

  /** Only what has been let through owes bytes: our own refusals are not charged. */
  admit(): void {
    this.#admitted = true
  }

  opened(tunnel: LiveTunnel): void {
    this.#tunnel = tunnel
    if (this.#bytes.length > 0) this.#services.meter(this)
  }

  /** The bytes since the last one. */
  tick(): void {
    if (this.#tunnel === null) return
    const { bytesUp, bytesDown } = this.#tunnel
    for (const owing of this.#bytes) if (!owing.asking) this.#charge(owing, bytesUp, bytesDown)
  }

  ended({ bytesReceived, bytesSent }: ExchangeRecord): void {
    this.over = true
    this.release()
    this.#services.unmeter(this)
    this.#tunnel = null
    if (this.#admitted) for (const owing of this.#bytes) this.#charge(owing, bytesReceived, bytesSent)
  }

  /** Gives back what is held, wherever it may be. */
  release(): void {
    for (const { limit, key, holder } of this.#holds) {
      limit.shared?.release(limit.model, key, holder)
      this.#services.local.release(limit.model, key, holder)
    }
  }

  #charge(owing: Owing, up: number, down: number): void {
    const { hit } = owing
    const { model, shared } = hit.limit
    const total = { egress: up, ingress: down, both: up + down }[model.direction]
    const bytes = total - owing.charged
    if (bytes <= 0) return
    owing.charged = total
    if (hit.here || shared === null) return this.#heard(hit, this.#services.local.charge(model, hit.key, bytes))
    const answer = shared.charge(model, hit.key, bytes)
    if (!(answer instanceof Promise)) return this.#answered(owing, bytes, answer)
    owing.asking = true
    void answer.then((verdict) => {
      owing.asking = false
      this.#answered(owing, bytes, verdict)
    })
  }

  #answered(owing: Owing, bytes: number, verdict: Verdict | null): void {
    const { hit } = owing
    const { model } = hit.limit
    if (verdict !== null) return this.#heard(hit, verdict)
    if (model.onStoreFailure === 'local') return this.#heard(hit, this.#services.local.charge(model, hit.key, bytes))
    // Owed until the store can be asked again. A tunnel that is open stays open meanwhile: a store that is down for a
    // moment must not cut everybody off.
    owing.charged -= bytes
  }

  #heard(hit: Hit, verdict: Verdict): void {
    this.#noted(hit, verdict)
    const { model } = hit.limit
    if (verdict.allowed || this.#tunnel === null) return
    if (model.mode === 'shadow') return
    this.#services.counts.count(model, 'deny')
    const tunnel = this.#tunnel
    this.#tunnel = null
    tunnel.close('rate_limited')
  }
}
