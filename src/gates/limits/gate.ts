/** The gate of the EgressRateLimits of one configuration: which of them a request or tunnel falls under. */
import type { Attributes } from '../../core/attributes.ts'
import { isUpgrade } from '../../core/upgrade.ts'
import type { GatewayModel } from '../../model/gateway.ts'
import { Facts } from '../../policy/facts.ts'
import { compileLimit, limitHost, limitKey } from '../../policy/limits.ts'
import type { Admission, Gate, Passage } from '../../runtime/gate.ts'
import { Attempt } from './attempt.ts'
import { policyField } from './fields.ts'
import type { CompiledLimit, Hit } from './hit.ts'
import type { LimitServices } from './services.ts'
import type { LimitStore } from './store.ts'

/** null: there are no limits. `limitStore`: where global ones are counted, asked for only if there are any. @throws Error when a limit has no place to be counted in */
export function createLimitsGate(
  model: GatewayModel,
  services: LimitServices,
  limitStore: () => LimitStore | null,
): Gate | null {
  if (model.limits.length === 0) return null
  const shared = model.limits.some(({ scope }) => scope === 'global') ? limitStore() : null
  services.prepare(model)
  const limits = model.limits.map((limit): CompiledLimit => {
    if (limit.scope === 'global' && shared === null)
      throw new Error(`limit ${limit.id} is global, and there is no Redis`)
    services.counts.add(limit)
    const { applies, explain } = compileLimit(limit)
    return {
      model: limit,
      applies,
      explain,
      shared: limit.scope === 'global' ? shared : null,
      policyField: policyField(limit),
    }
  })
  return new LimitsGate(limits, services)
}

class LimitsGate implements Gate {
  readonly name = 'limits'
  readonly #limits: readonly CompiledLimit[]
  readonly #services: LimitServices
  #used = false

  constructor(limits: readonly CompiledLimit[], services: LimitServices) {
    this.#limits = limits
    this.#services = services
  }

  admit(passage: Passage): Admission {
    if (!this.#used) this.#begin()
    const { attributes, judgement, sni } = passage
    const host = limitHost(attributes, sni, judgement?.clusterName ?? null)
    const facts = new Facts(attributes)
    let hits: Hit[] | null = null
    for (const limit of this.#limits) {
      const { model } = limit
      const held = model.unit === 'tunnels'
      if ((held && !isTunnel(attributes)) || !limit.applies(facts, host)) continue
      hits ??= []
      hits.push({
        limit,
        key: limitKey(model.key, attributes, host),
        holder: held ? this.#services.holder() : '',
        here: limit.shared === null,
        verdict: null,
      })
    }
    return hits === null ? null : new Attempt(this.#services, passage, host, hits).admit()
  }

  /** Not before: a configuration that is compiled may yet be refused, and the one that runs needs its counts. */
  #begin(): void {
    this.#used = true
    this.#services.local.keepOnly(this.#limits.map(({ model }) => model))
  }
}

/** Requests that ask to become a WebSocket hold a place as tunnels do. */
function isTunnel({ http }: Attributes): boolean {
  return http === null || isUpgrade(http.headers)
}
