/** starting → ready → draining → closed: what readiness, new connections and answers look at. */
export type Phase = 'starting' | 'ready' | 'draining' | 'closed'

export class Lifecycle {
  #phase: Phase = 'starting'
  #failedByOperator = false
  #auditFailed = false
  #listening = true
  #cutting = false

  get phase(): Phase {
    return this.#phase
  }

  /** Ready for traffic: listeners open, refusals can be put down, and not taken out by `POST /healthcheck/fail`. */
  get healthy(): boolean {
    return this.#phase === 'ready' && this.#listening && !this.#failedByOperator && !this.#auditFailed
  }

  /** False once the data ports have been closed for good. */
  get listening(): boolean {
    return this.#listening
  }

  get draining(): boolean {
    return this.#phase === 'draining' || this.#phase === 'closed'
  }

  /** True once the drain deadline has passed. */
  get cutting(): boolean {
    return this.#cutting
  }

  /** Envoy's names for /ready and /server_info. */
  get state(): 'PRE_INITIALIZING' | 'LIVE' | 'DRAINING' {
    if (this.#phase === 'starting') return 'PRE_INITIALIZING'
    return this.healthy ? 'LIVE' : 'DRAINING'
  }

  ready(): void {
    if (this.#phase === 'starting') this.#phase = 'ready'
  }

  /** false: it was draining already. */
  drain(): boolean {
    if (this.draining) return false
    this.#phase = 'draining'
    return true
  }

  cut(): void {
    this.#cutting = true
  }

  closed(): void {
    this.#phase = 'closed'
    this.#cutting = true
  }

  /** Nobody can connect from now on: readiness must say so, whatever runs on. */
  stopListening(): void {
    this.#listening = false
  }

  /** The audit stream takes nothing: traffic belongs to a gateway whose refusals are written. */
  failAudit(failed: boolean): void {
    this.#auditFailed = failed
  }

  failHealthcheck(failed: boolean): void {
    this.#failedByOperator = failed
  }
}
