/** What `explain` says of CUSTOM policies: whether the external authorizer would be asked. It is not: explain does no I/O. */
import type { Attributes } from '../core/attributes.ts'
import { REFUSALS } from '../core/refusal.ts'
import type { GatewayModel } from '../model/gateway.ts'
import { compileCustom } from '../policy/custom.ts'
import { type Explanation, place } from './explain-parts.ts'

/** The explanation of what comes after CUSTOM, seen with it. */
export function withAuthorizer(explanation: Explanation, model: GatewayModel, attributes: Attributes): Explanation {
  const { authorizer } = model
  if (authorizer === null) return explanation
  const { name, provider } = authorizer
  const tunnel = attributes.http === null
  if (provider === null)
    return refused(
      explanation,
      tunnel ? null : 403,
      `there is no provider ${name}`,
      `${name}: there is no such provider`,
    )
  const rule = compileCustom(model.policies)(attributes)
  if (rule === null) return explanation
  const asks = `${name} (${provider.type}), for ${rule.id} at ${place(rule.source)}`
  if (tunnel && provider.type === 'envoyExtAuthzHttp' && !provider.failOpen)
    return refused(explanation, null, `${name} cannot be asked about tunnels`, asks)
  const conclusion = explanation.allowed
    ? `${explanation.conclusion}, if the external authorizer ${name} lets it through`
    : explanation.conclusion
  return { ...explanation, asks, conclusion }
}

/** Of a tunnel `status` is null: it has none. */
function refused(explanation: Explanation, status: number | null, why: string, asks: string): Explanation {
  const { reason } = REFUSALS.ext_authz_denied
  return {
    ...explanation,
    allowed: false,
    status,
    reason,
    details: 'ext_authz_error',
    asks,
    conclusion: status === null ? `refused: ${reason}, ${why}` : `refused: ${status} ${reason}, ${why}`,
  }
}
