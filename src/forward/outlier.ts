/**
 * Passive health checking (behaviour §5.5; Envoy source/common/upstream/outlier_detection_impl.cc): endpoints that keep
 * failing are left alone for a while. No timers: sweeps happen when somebody looks, at the times they would have.
 */
import type { ClusterStats } from '../core/stats.ts'
import type { OutlierDetectionModel } from '../model/cluster.ts'
import type { EndpointHealth, HealthGroup } from './endpoint-health.ts'

/** Envoy's default of max_ejection_time, which Istio does not set; a longer base ejection time takes its place. */
const MAX_EJECTION_MS = 300_000

type Counter = 'consecutive5xx' | 'consecutiveGatewayErrors' | 'consecutiveLocalFailures'

/** TABLE: what is counted, where its limit stands, and the statistic of ejections it causes. */
const CAUSES = {
  consecutive5xx: { limit: 'consecutive5xx', stat: 'outlier_ejections_enforced_consecutive_5xx' },
  consecutiveGatewayErrors: {
    limit: 'consecutiveGatewayErrors',
    stat: 'outlier_ejections_enforced_consecutive_gateway_failure',
  },
  consecutiveLocalFailures: {
    limit: 'consecutiveLocalOriginFailures',
    stat: 'outlier_ejections_enforced_consecutive_local_origin_failure',
  },
} as const satisfies Record<Counter, { limit: keyof OutlierDetectionModel; stat: keyof ClusterStats }>

export class OutlierDetector {
  readonly #model: OutlierDetectionModel
  readonly #group: HealthGroup
  readonly #stats: ClusterStats
  readonly #now: () => number
  readonly #members: () => Iterable<EndpointHealth>
  #seen = -1
  #nextReturn = Number.POSITIVE_INFINITY

  /** `members`: of the endpoints that may be dialled, ejected ones included; asked when one is to be ejected. */
  constructor(
    model: OutlierDetectionModel,
    group: HealthGroup,
    stats: ClusterStats,
    now: () => number,
    members: () => Iterable<EndpointHealth>,
  ) {
    // Sweeps need a distance, whatever the model says.
    this.#model = { ...model, intervalMs: Math.max(1, model.intervalMs) }
    this.#group = group
    this.#stats = stats
    this.#now = now
    this.#members = members
  }

  /** The endpoint answered with this status. */
  answered(health: EndpointHealth, status: number): void {
    if (status < 500) {
      health.consecutive5xx = 0
      health.consecutiveGatewayErrors = 0
      return
    }
    // Envoy's isGatewayError: 500 and 501 are the application's own.
    if (status >= 502 && status <= 504) this.#count(health, 'consecutiveGatewayErrors')
    else health.consecutiveGatewayErrors = 0
    this.#count(health, 'consecutive5xx')
  }

  /** No answer: not connected, timed out, reset. Counts as a 503 unless local failures are counted apart. */
  failed(health: EndpointHealth): void {
    if (this.#model.splitLocalOriginErrors) this.#count(health, 'consecutiveLocalFailures')
    else this.answered(health, 503)
  }

  /** A connection is there. `final`: nothing follows that could be judged (a tunnel). */
  connected(health: EndpointHealth, final: boolean): void {
    if (this.#model.splitLocalOriginErrors) health.consecutiveLocalFailures = 0
    else if (final) this.answered(health, 200)
  }

  /** Takes back whoever has served its time. Costs nothing while nobody is ejected. */
  sweep(): void {
    if (this.#seen !== this.#group.version) this.#look()
    if (this.#nextReturn === Number.POSITIVE_INFINITY) return
    const now = this.#now()
    if (now < this.#nextReturn) return
    for (const health of this.#members()) {
      const due = this.#returnsAt(health)
      if (due === null || now < due) continue
      health.ejectedAt = null
      health.returnedAt = due
      health.since = due
      // Otherwise the counter that did not trigger would be one error away from it.
      for (const counter of Object.keys(CAUSES) as Counter[]) health[counter] = 0
      this.#group.version++
    }
    this.#look()
  }

  /** Members may have been ejected under another configuration, or before they were members. */
  membersChanged(): void {
    this.#seen = -1
  }

  #look(): void {
    this.#seen = this.#group.version
    this.#nextReturn = Number.POSITIVE_INFINITY
    for (const health of this.#members()) {
      this.#nextReturn = Math.min(this.#nextReturn, this.#returnsAt(health) ?? Number.POSITIVE_INFINITY)
    }
  }

  /** The first sweep after the ejection time; null: not ejected. */
  #returnsAt({ ejectedAt, backoff }: EndpointHealth): number | null {
    if (ejectedAt === null) return null
    const { baseEjectionMs, intervalMs } = this.#model
    const { epoch } = this.#group
    const ends = ejectedAt + Math.min(baseEjectionMs * backoff, Math.max(MAX_EJECTION_MS, baseEjectionMs))
    return epoch + Math.ceil((ends - epoch) / intervalMs) * intervalMs
  }

  #count(health: EndpointHealth, counter: Counter): void {
    const { limit, stat } = CAUSES[counter]
    health[counter]++
    // A limit of 0 is never met: it is off.
    if (health[counter] !== this.#model[limit] || health.ejectedAt !== null) return
    health[counter] = 0
    if (this.#eject(health)) {
      this.#stats.outlier_ejections_enforced_total++
      this.#stats[stat]++
    } else this.#stats.outlier_ejections_overflow++
  }

  /** False: as many are out as may be. */
  #eject(health: EndpointHealth): boolean {
    this.sweep()
    let total = 0
    let ejected = 0
    for (const { ejectedAt } of this.#members()) {
      total++
      if (ejectedAt !== null) ejected++
    }
    const { maxEjectionPercent, intervalMs } = this.#model
    // One may always be ejected, however few there are (behaviour §5.5); the next one only within the limit.
    const allowed = ejected === 0 ? maxEjectionPercent > 0 : (100 * (ejected + 1)) / total <= maxEjectionPercent
    if (!allowed) return false
    const now = this.#now()
    const { epoch } = this.#group
    const calmSweeps = Math.floor((now - epoch) / intervalMs) - Math.floor((health.returnedAt - epoch) / intervalMs)
    health.backoff = Math.max(0, health.backoff - Math.max(0, calmSweeps)) + 1
    health.ejectedAt = now
    this.#group.version++
    return true
  }
}
