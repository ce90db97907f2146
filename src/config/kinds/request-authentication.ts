/**
 * RequestAuthentication (security.istio.io v1, v1beta1). The gateway does not verify tokens yet: config/policies.ts
 * refuses the resource where it applies to this gateway (contract §3). The schema is complete so that mistakes show now.
 */
import { z } from 'zod'
import { checkTarget, targetFields } from '../policy-target.ts'
import type { KindModule } from '../resource.ts'
import { bool, duration, text } from '../schema.ts'

const jwtRule = z.object({
  issuer: text.optional(),
  audiences: z.array(text).optional(),
  jwksUri: text.optional(),
  jwks: text.optional(),
  fromHeaders: z.array(z.object({ name: text.optional(), prefix: text.optional() })).optional(),
  fromParams: z.array(text).optional(),
  fromCookies: z.array(text).optional(),
  outputPayloadToHeader: text.optional(),
  outputClaimToHeaders: z.array(z.object({ header: text.optional(), claim: text.optional() })).optional(),
  forwardOriginalToken: bool.optional(),
  timeout: duration.optional(),
  spaceDelimitedClaims: z.array(text).optional(),
})

const schema = z.object({ ...targetFields, jwtRules: z.array(jwtRule).optional() })

export type RequestAuthenticationSpec = z.infer<typeof schema>

export const requestAuthentication: KindModule<RequestAuthenticationSpec> = {
  kind: 'RequestAuthentication',
  group: 'security.istio.io',
  versions: ['v1', 'v1beta1'],
  unknownKeys: 'error',
  schema,
  specOptional: true,
  unsupported: [],
  notes: [{ path: 'spec.jwtRules', is: 'refused', why: 'where the resource applies: JWTs are not verified yet' }],
  check: (resource, report) => {
    checkTarget(resource, report)
    if ((resource.spec.jwtRules ?? []).length > 0)
      report(
        'SP5012',
        resource.at('spec', 'jwtRules'),
        'JWTs are not verified yet; a gateway this selects refuses it',
        {
          severity: 'warning',
        },
      )
    for (const [i, rule] of (resource.spec.jwtRules ?? []).entries()) {
      const at = (...path: readonly (string | number)[]) => resource.at('spec', 'jwtRules', i, ...path)
      if ((rule.issuer ?? '') === '' && (rule.jwksUri ?? '') === '')
        report('SP5000', at(), 'a JWT rule needs an issuer or a jwksUri')
      for (const field of ['audiences', 'fromParams', 'fromCookies'] as const)
        for (const [k, value] of (rule[field] ?? []).entries())
          if (value === '') report('SP5000', at(field, k), `${field} contains an empty string`)
      for (const [k, header] of (rule.fromHeaders ?? []).entries())
        if ((header.name ?? '') === '') report('SP5000', at('fromHeaders', k), 'fromHeaders needs a header name')
      for (const [k, output] of (rule.outputClaimToHeaders ?? []).entries())
        if ((output.header ?? '') === '' || (output.claim ?? '') === '')
          report('SP5000', at('outputClaimToHeaders', k), 'outputClaimToHeaders needs both header and claim')
    }
  },
}
