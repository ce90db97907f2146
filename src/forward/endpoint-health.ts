/**
 * What is known about the health and age of a cluster's endpoints. It belongs to addresses, not to one configuration or
 * one DNS answer, and outlives both: a failing endpoint must not be taken back because a resource was edited or a TTL ran out.
 */

/** One `ip:port`. Times are milliseconds of the monotonic clock that the cluster runs by. */
export type EndpointHealth = {
  consecutive5xx: number
  consecutiveGatewayErrors: number
  consecutiveLocalFailures: number
  /** null: not ejected. */
  ejectedAt: number | null
  /** Times of `baseEjection` that the next or present ejection lasts; falls again while the endpoint stays in. */
  backoff: number
  /** When the last ejection ended. */
  returnedAt: number
  /** In use from then on: since it appeared or came back. Slow start counts from here. */
  since: number
}

/** Kept of endpoints that are in no answer any more: only ejections, and not without limit. */
const MAX_HOSTS = 4_096
/** Of one cluster: names that callers asked for. */
const MAX_GROUPS = 10_000

/** The endpoints that are balanced over together: of one cluster or, where the requested name decides, of one name. */
export class HealthGroup {
  /** Ejection sweeps are multiples of the interval counted from here. */
  readonly epoch: number
  /** Changes with every ejection and every return. */
  version = 0
  readonly #hosts = new Map<string, EndpointHealth>()

  constructor(now: number) {
    this.epoch = now
  }

  /** The state of an endpoint that is there now. */
  at(text: string, now: number): EndpointHealth {
    const known = this.#hosts.get(text)
    if (known !== undefined) return known
    const health: EndpointHealth = {
      consecutive5xx: 0,
      consecutiveGatewayErrors: 0,
      consecutiveLocalFailures: 0,
      ejectedAt: null,
      backoff: 0,
      returnedAt: 0,
      since: now,
    }
    if (this.#hosts.size >= MAX_HOSTS) {
      const oldest = this.#hosts.keys().next()
      if (!oldest.done) this.#hosts.delete(oldest.value)
    }
    this.#hosts.set(text, health)
    return health
  }

  /** An endpoint is in no answer any more: when it comes back it is a new one, but an ejection it keeps. */
  left(text: string): void {
    if (this.#hosts.get(text)?.ejectedAt === null) this.#hosts.delete(text)
  }
}

/** The groups of all clusters of a family of configurations. */
export class HealthGroups {
  readonly #byCluster = new Map<string, Map<string, HealthGroup>>()

  /** `requested`: null where the cluster has one group. */
  of(cluster: string, requested: string | null, now: number): HealthGroup {
    const groups = this.#byCluster.get(cluster) ?? new Map<string, HealthGroup>()
    this.#byCluster.set(cluster, groups)
    const key = requested ?? ''
    const known = groups.get(key)
    if (known !== undefined) return known
    if (groups.size >= MAX_GROUPS) {
      const oldest = groups.keys().next()
      if (!oldest.done) groups.delete(oldest.value)
    }
    const group = new HealthGroup(now)
    groups.set(key, group)
    return group
  }

  /** Forgets the clusters that are gone. */
  keep(isWanted: (cluster: string) => boolean): void {
    for (const cluster of this.#byCluster.keys()) if (!isWanted(cluster)) this.#byCluster.delete(cluster)
  }
}
