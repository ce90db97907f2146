/**
 * RequestAuthentication (security.istio.io v1, v1beta1): schema and what can be judged from the resource alone (istio
 * pkg/config/validation, and what a gateway could not do). What it means for this gateway is config/token-rules.ts.
 */
import { z } from 'zod'
import { isHopByHop, isMeshHeader } from '../../core/headers.ts'
import { jwksProblems } from '../jwks.ts'
import { checkTarget, targetFields } from '../policy-target.ts'
import type { KindModule, Report } from '../resource.ts'
import { bool, duration, text } from '../schema.ts'
import { keyUri } from '../token-rules.ts'

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
export type JwtRuleSpec = z.infer<typeof jwtRule>

/** Reports about one rule; the path is within it. */
type RuleReport = (
  code: 'SP5000' | 'SP8200' | 'SP8201' | 'SP8203' | 'SP8204' | 'SP8205',
  path: readonly (string | number)[],
  message: string,
  options?: Parameters<Report>[3],
) => void

/** RFC 9110 §5.6.2 token. */
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/

/** Fields that something else needs, or that name what is asked for. */
const RESERVED: ReadonlySet<string> = new Set([
  'host',
  'content-length',
  'content-type',
  'cookie',
  'x-request-id',
  'via',
])

export const requestAuthentication: KindModule<RequestAuthenticationSpec> = {
  kind: 'RequestAuthentication',
  group: 'security.istio.io',
  versions: ['v1', 'v1beta1'],
  unknownKeys: 'error',
  schema,
  specOptional: true,
  unsupported: [],
  notes: (['targetRef', 'targetRefs'] as const).map((field) => ({
    path: `spec.${field}`,
    is: 'limited' as const,
    why: 'as in Istio they are for gateways of the Gateway API, which this is if its labels say so',
  })),
  check: (resource, report) => {
    checkTarget(resource, report)
    for (const [i, rule] of (resource.spec.jwtRules ?? []).entries()) {
      const within: RuleReport = (code, path, message, options) =>
        report(code, resource.at('spec', 'jwtRules', i, ...path), message, options)
      checkKeys(rule, within)
      checkLocations(rule, within)
      checkOutputs(rule, within)
      for (const field of ['audiences', 'spaceDelimitedClaims'] as const)
        for (const [k, value] of (rule[field] ?? []).entries())
          if (value === '') within('SP5000', [field, k], `${field} contains an empty string`)
      // Istio hands it to the client for keys, for which no time would be no keys.
      if (rule.timeout === 0) within('SP8200', ['timeout'], 'timeout must be more than 0', { severity: 'warning' })
    }
  },
}

function checkKeys(rule: JwtRuleSpec, report: RuleReport): void {
  const { issuer = '', jwks = '', jwksUri = '' } = rule
  if (issuer === '' && jwksUri === '') report('SP5000', [], 'a JWT rule needs an issuer or a jwksUri')
  else if (issuer === '') report('SP8204', [], 'a rule without issuer takes tokens of any issuer')
  if (jwks !== '' && jwksUri !== '') report('SP8205', ['jwksUri'], 'jwksUri is not looked at beside jwks')
  if (jwks !== '') return checkInline(jwks, report)
  const [text, path, what] =
    jwksUri === ''
      ? ([issuer, ['issuer'], 'without jwks and jwksUri the issuer'] as const)
      : ([jwksUri, ['jwksUri'], 'jwksUri'] as const)
  if (text === '') return
  const url = keyUri(text)
  if (url === null)
    report('SP8200', path, `${what} must be an http or https URL without user and fragment: ${JSON.stringify(text)}`, {
      fix: jwksUri === '' ? 'add jwks or jwksUri' : 'write https://HOST/PATH',
    })
  else if (url.protocol === 'http:') report('SP8203', path, `keys of ${text} come over plain HTTP`)
}

function checkInline(jwks: string, report: RuleReport): void {
  const problems = jwksProblems(jwks)
  if (typeof problems === 'string') return report('SP8201', ['jwks'], `jwks: ${problems}`)
  for (const index of problems.secret)
    report('SP8201', ['jwks'], `key ${index} of jwks holds its private half, with which anybody could sign`, {
      fix: 'leave out `d` and the members that belong to it, and make new keys',
    })
  for (const { index, why } of problems.unusable)
    report('SP8201', ['jwks'], `key ${index} of jwks verifies nothing here: ${why}`, { severity: 'warning' })
  if (problems.usable === 0)
    report('SP8201', ['jwks'], 'jwks has no key that can verify: every token of this rule is refused', {
      severity: 'warning',
    })
}

function checkLocations(
  { fromHeaders = [], fromParams = [], fromCookies = [] }: JwtRuleSpec,
  report: RuleReport,
): void {
  for (const [k, { name = '' }] of fromHeaders.entries()) {
    if (name === '') report('SP5000', ['fromHeaders', k], 'fromHeaders needs a header name')
    else if (!TOKEN.test(name))
      report('SP8200', ['fromHeaders', k, 'name'], `${JSON.stringify(name)} is not a header name`)
    else if (isHopByHop(name.toLowerCase()) || RESERVED.has(name.toLowerCase()))
      report('SP8200', ['fromHeaders', k, 'name'], `a token cannot be read from the field ${name}`, {
        fix: name.toLowerCase() === 'cookie' ? 'use fromCookies' : 'use another field',
      })
  }
  for (const [field, values] of [
    ['fromParams', fromParams],
    ['fromCookies', fromCookies],
  ] as const)
    for (const [k, value] of values.entries())
      if (value === '') report('SP5000', [field, k], `${field} contains an empty string`)
      else if (field === 'fromCookies' && !TOKEN.test(value))
        report('SP8200', [field, k], `${JSON.stringify(value)} is not the name of a cookie`)
}

function checkOutputs(rule: JwtRuleSpec, report: RuleReport): void {
  const { outputPayloadToHeader = '', outputClaimToHeaders = [], fromHeaders = [] } = rule
  const taken = new Set<string>()
  const outputs = [
    ...(outputPayloadToHeader === '' ? [] : [{ header: outputPayloadToHeader, path: ['outputPayloadToHeader'] }]),
    ...outputClaimToHeaders.map(({ header = '' }, k) => ({ header, path: ['outputClaimToHeaders', k, 'header'] })),
  ]
  for (const { header, path } of outputs) {
    const name = header.toLowerCase()
    if (header === '') continue
    if (!TOKEN.test(header)) report('SP8200', path, `${JSON.stringify(header)} is not a header name`)
    else if (isHopByHop(name) || isMeshHeader(name) || RESERVED.has(name))
      report('SP8200', path, `the field ${header} is not free to carry claims`)
    else if (name === 'authorization' || fromHeaders.some((from) => from.name?.toLowerCase() === name))
      report(
        'SP8200',
        path,
        `the field ${header} is where a token is read from; what callers send in it would be dropped`,
      )
    if (taken.has(name)) report('SP8200', path, `the field ${header} is filled twice by this rule`)
    taken.add(name)
  }
  for (const [k, { header = '', claim = '' }] of outputClaimToHeaders.entries())
    if (header === '' || claim === '')
      report('SP5000', ['outputClaimToHeaders', k], 'outputClaimToHeaders needs both header and claim')
}
