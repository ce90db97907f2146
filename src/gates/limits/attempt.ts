/**
 * One request or tunnel before all the limits that it falls under. It is counted by all of them or, when one refuses, by
 * none of this process's: who is refused uses nothing up. (Shared ones that were asked at the same time have counted it.)
 */
import type { Refusal } from '../../core/refusal.ts'
import type { Admission, Passage } from '../../runtime/gate.ts'
import { budgetWarning, limitField, overLimit, storeFailed } from './fields.ts'
import { costOf, type Hit, take } from './hit.ts'
import { Meter } from './meter.ts'
import type { LimitServices } from './services.ts'
import type { Verdict } from './store.ts'

export class Attempt {
  readonly #services: LimitServices
  readonly #passage: Passage
  readonly #host: string
  readonly #hits: readonly Hit[]
  #meter: Meter | null = null

  constructor(services: LimitServices, passage: Passage, host: string, hits: readonly Hit[]) {
    this.#services = services
    this.#passage = passage
    this.#host = host
    this.#hits = hits
  }

  /** A Promise only where a shared store has to be asked. */
  admit(): Admission {
    const refused = this.#isSimple() ? null : this.#refusedHere()
    if (refused !== null) return refused
    if (this.#hits.some(({ limit: { model } }) => model.unit !== 'requests')) this.#watch()
    const asking = this.#askShared()
    return asking === null ? this.#settle(false) : asking.then(() => this.#settle(true))
  }

  /** One limit of this process: taking answers by itself, so that there is nothing to look up first. */
  #isSimple(): boolean {
    const [first, second] = this.#hits
    return second === undefined && first !== undefined && first.here
  }

  /** Before anything is held: it may end while we wait. */
  #watch(): void {
    const meter = new Meter(this.#services, this.#hits, (hit, verdict) => this.#note(hit, verdict))
    this.#meter = meter
    this.#passage.endings.push((record) => meter.ended(record))
    this.#passage.openings.push((tunnel) => meter.opened(tunnel))
  }

  /** What this process knows, without taking anything. The one that takes longest to come round speaks. */
  #refusedHere(): Refusal | null {
    let worst: Hit | null = null
    let wait = 0
    for (const hit of this.#hits) {
      const { model } = hit.limit
      if (!hit.here || model.mode === 'shadow') continue
      hit.verdict = this.#services.local.peek(model, hit.key, costOf(model))
      if (hit.verdict.allowed) continue
      if (worst === null || hit.verdict.retryAfterMs > wait) worst = hit
      wait = Math.max(wait, hit.verdict.retryAfterMs)
    }
    return worst === null ? null : this.#refuse(worst, overLimit(worst.limit.model, wait))
  }

  /** null: every answer is there. */
  #askShared(): Promise<unknown> | null {
    const waiting: Promise<void>[] = []
    for (const hit of this.#hits) {
      const { shared } = hit.limit
      if (hit.here || shared === null) continue
      const answer = take(shared, hit)
      if (answer instanceof Promise) waiting.push(answer.then((verdict) => void (hit.verdict = verdict)))
      else hit.verdict = answer
    }
    return waiting.length === 0 ? null : Promise.all(waiting)
  }

  #settle(late: boolean): Refusal | null {
    if (this.#meter?.over === true) {
      this.#meter.release()
      return null
    }
    const refused = this.#judgeShared() ?? (late || this.#fellBack() ? this.#refusedHere() : null)
    if (refused !== null) {
      this.#meter?.release()
      return refused
    }
    for (const hit of this.#hits) {
      if (hit.here) hit.verdict = take(this.#services.local, hit) as Verdict
      // Only one that was not looked up before: what was there then is there now.
      if (hit.verdict?.allowed === false && hit.limit.model.mode === 'enforce') {
        this.#meter?.release()
        return this.#refuse(hit, overLimit(hit.limit.model, hit.verdict.retryAfterMs))
      }
      if (hit.verdict !== null) this.#count(hit, hit.verdict)
    }
    this.#meter?.admit()
    this.#tell(this.#hits)
    return null
  }

  #fellBack(): boolean {
    return this.#hits.some(({ here, limit }) => here && limit.shared !== null)
  }

  #judgeShared(): Refusal | null {
    let refused: Refusal | null = null
    for (const hit of this.#hits) {
      const { model, shared } = hit.limit
      if (hit.here || shared === null) continue
      const enforced = model.mode === 'enforce'
      if (hit.verdict === null) {
        this.#services.counts.count(model, 'error')
        hit.here = model.onStoreFailure === 'local'
        if (model.onStoreFailure === 'closed' && enforced) refused ??= storeFailed(model)
      } else if (!hit.verdict.allowed && enforced) {
        refused ??= this.#refuse(hit, overLimit(model, hit.verdict.retryAfterMs))
      }
    }
    return refused
  }

  #refuse(hit: Hit, refusal: Refusal): Refusal {
    this.#services.counts.count(hit.limit.model, 'deny')
    if (hit.verdict !== null) this.#note(hit, hit.verdict)
    this.#tell([hit])
    return refusal
  }

  #count(hit: Hit, verdict: Verdict): void {
    const { model } = hit.limit
    if (verdict.allowed) this.#services.counts.count(model, 'allow')
    else this.#services.counts.shadowed(model, hit.key)
    this.#note(hit, verdict)
  }

  #note({ limit: { model }, key }: Hit, verdict: Verdict): void {
    if (model.quota.kind === 'budget')
      this.#services.counts.left(model, key, this.#passage.attributes, this.#host, verdict)
  }

  /** Shadow limits show in metrics and the log alone. */
  #tell(hits: readonly Hit[]): void {
    if (this.#passage.attributes.http === null) return
    const { responseFields } = this.#passage
    let limits = ''
    let policies = ''
    let warnings = ''
    for (const { limit, verdict } of hits) {
      if (verdict === null || limit.model.mode === 'shadow') continue
      const comma = limits === '' ? '' : ', '
      limits += comma + limitField(limit.model, verdict)
      policies += comma + limit.policyField
      const warning = budgetWarning(limit.model, verdict)
      if (warning !== null) warnings += (warnings === '' ? '' : ', ') + warning
    }
    if (limits === '') return
    responseFields.push('ratelimit', limits, 'ratelimit-policy', policies)
    if (warnings !== '') responseFields.push('x-sallyport-budget-warning', warnings)
  }
}
