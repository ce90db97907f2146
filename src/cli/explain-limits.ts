/** Which EgressRateLimits a request or tunnel falls under, as `explain` prints it. What has been used of them it cannot know. */
import type { Attributes, SourceRef } from '../core/attributes.ts'
import { isUpgrade } from '../core/upgrade.ts'
import type { GatewayModel } from '../model/gateway.ts'
import { describeLimit } from '../policy/limit-words.ts'
import { compileLimit, limitHost, limitKey } from '../policy/limits.ts'

export type LimitExplanation = {
  /** `namespace/resource/name`. */
  readonly limit: string
  readonly source: SourceRef
  readonly applies: boolean
  /** What it says; of one that does not apply, why not. */
  readonly why: string
  /** What this one would be counted under; null: it does not apply. */
  readonly key: string | null
  readonly scope: 'local' | 'global'
  readonly mode: 'enforce' | 'shadow'
}

/** `sni`: of the ClientHello that routes a tunnel; null: there is none. */
export function explainLimits(
  { limits }: GatewayModel,
  attributes: Attributes,
  sni: string | null,
  clusterName: string | null,
): readonly LimitExplanation[] {
  const host = limitHost(attributes, sni, clusterName)
  return limits.map((model) => {
    const held = model.unit === 'tunnels' && attributes.http !== null && !isUpgrade(attributes.http.headers)
    const failure = held ? 'it counts tunnels and WebSockets' : compileLimit(model).explain(attributes, host)
    const { id, source, scope, mode } = model
    return {
      limit: id,
      source,
      applies: failure === null,
      why: failure ?? describeLimit(model),
      key: failure === null ? limitKey(model.key, attributes, host) : null,
      scope,
      mode,
    }
  })
}

/** Lines of the text form. */
export function limitLines(limits: readonly LimitExplanation[], place: (source: SourceRef) => string): string[] {
  return limits.map(({ limit, source, applies, why, key, scope, mode }) => {
    const how = `${scope}${mode === 'shadow' ? ', shadow' : ''}`
    const counted = key === null || key === '' ? '' : `: ${key}`
    return `  limit ${limit} ${applies ? 'APPLIES' : 'does not apply'} (${how})  ${place(source)}\n      ${why}${counted}`
  })
}
