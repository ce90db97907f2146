/**
 * AuthorizationPolicy (security.istio.io v1, v1beta1): schema and Istio's validation rules (behaviour §1.1). What it
 * means for this gateway is config/policies.ts. Unknown keys are errors: a misspelt restriction would widen access.
 */
import { z } from 'zod'
import { parseCidr } from '../../core/cidr.ts'
import { pathTemplateError } from '../../core/path-template.ts'
import { checkTarget, targetFields } from '../policy-target.ts'
import type { KindModule, Report, Resource } from '../resource.ts'
import { enumeration, text } from '../schema.ts'
import { AUTHORIZATION_POLICY_NOTES, REPLACED_KEYS } from './authorization-policy-tables.ts'
import { checkCustom } from './custom-policy-check.ts'

const list = z.array(text).optional()

const source = z.object({
  principals: list,
  notPrincipals: list,
  requestPrincipals: list,
  notRequestPrincipals: list,
  namespaces: list,
  notNamespaces: list,
  ipBlocks: list,
  notIpBlocks: list,
  remoteIpBlocks: list,
  notRemoteIpBlocks: list,
  serviceAccounts: list,
  notServiceAccounts: list,
  trustDomains: list,
  notTrustDomains: list,
})

const operation = z.object({
  hosts: list,
  notHosts: list,
  ports: list,
  notPorts: list,
  methods: list,
  notMethods: list,
  paths: list,
  notPaths: list,
})

const rule = z.object({
  from: z.array(z.object({ source: source.optional() })).optional(),
  to: z.array(z.object({ operation: operation.optional() })).optional(),
  when: z.array(z.object({ key: text.optional(), values: list, notValues: list })).optional(),
})

const schema = z.object({
  ...targetFields,
  action: enumeration(['ALLOW', 'DENY', 'AUDIT', 'CUSTOM']).optional(),
  provider: z.object({ name: text.optional() }).optional(),
  rules: z.array(rule).optional(),
})

export type AuthorizationPolicySpec = z.infer<typeof schema>
export type RuleSpec = z.infer<typeof rule>
export type SourceSpec = z.infer<typeof source>
export type OperationSpec = z.infer<typeof operation>

type Policy = Resource<AuthorizationPolicySpec>
type Path = readonly (string | number)[]
/** Why a value of a list is refused, with its code; null: fine. */
type ValueCheck = (value: string) => { readonly code: 'SP5004' | 'SP5005' | 'SP5006' | 'SP5007'; why: string } | null

const MAX_RULES = 512
const MAX_SERVICE_ACCOUNTS = 16
const MAX_SERVICE_ACCOUNT_LENGTH = 320

const SOURCE_CHECKS: Readonly<Partial<Record<keyof SourceSpec, ValueCheck>>> = {
  ipBlocks: checkIp,
  notIpBlocks: checkIp,
  remoteIpBlocks: checkIp,
  notRemoteIpBlocks: checkIp,
  serviceAccounts: checkServiceAccount,
  notServiceAccounts: checkServiceAccount,
}

const OPERATION_CHECKS: Readonly<Partial<Record<keyof OperationSpec, ValueCheck>>> = {
  ports: checkPort,
  notPorts: checkPort,
  paths: checkPath,
  notPaths: checkPath,
}

/** TABLE of `when` keys (pkg/config/security/security.go). */
export const WHEN_KEYS: readonly { readonly key: string; readonly bracket: boolean; readonly check?: ValueCheck }[] = [
  { key: 'request.headers', bracket: true },
  { key: 'source.ip', bracket: false, check: checkIp },
  { key: 'remote.ip', bracket: false, check: checkIp },
  { key: 'source.namespace', bracket: false },
  { key: 'source.principal', bracket: false },
  { key: 'source.serviceAccount', bracket: false, check: checkServiceAccount },
  { key: 'source.trustDomain', bracket: false },
  { key: 'request.auth.principal', bracket: false },
  { key: 'request.auth.audiences', bracket: false },
  { key: 'request.auth.presenter', bracket: false },
  { key: 'request.auth.claims', bracket: true },
  { key: 'destination.ip', bracket: false, check: checkIp },
  { key: 'destination.port', bracket: false, check: checkPort },
  { key: 'connection.sni', bracket: false },
]

export const authorizationPolicy: KindModule<AuthorizationPolicySpec> = {
  kind: 'AuthorizationPolicy',
  group: 'security.istio.io',
  versions: ['v1', 'v1beta1'],
  unknownKeys: 'error',
  schema,
  specOptional: true,
  unsupported: [],
  notes: AUTHORIZATION_POLICY_NOTES,
  check: (resource, report) => {
    checkTarget(resource, report)
    checkAction(resource, report)
    checkCustom(resource, report)
    const { rules = [] } = resource.spec
    if (rules.length > MAX_RULES)
      report('SP5000', resource.at('spec', 'rules'), `${rules.length} rules; at most ${MAX_RULES} are allowed`)
    for (const [i, item] of rules.entries()) checkRule(resource, item, ['spec', 'rules', i], report)
  },
}

function checkAction(policy: Policy, report: Report): void {
  const { action = 'ALLOW', provider, rules = [] } = policy.spec
  if (rules.length === 0 && (action === 'DENY' || action === 'CUSTOM'))
    report('SP5002', policy.at('spec', 'rules'), `a ${action} policy without rules never matches`, {
      fix: 'write `rules: [{}]` to match every request',
    })
  if (action === 'CUSTOM' && (provider?.name ?? '') === '')
    report('SP5008', policy.at('spec', 'provider'), 'action CUSTOM needs provider.name')
  if (action !== 'CUSTOM' && provider !== undefined)
    report('SP5008', policy.at('spec', 'provider'), `provider is for action CUSTOM; this policy is ${action}`)
  const dryRun = policy.annotations['istio.io/dry-run']
  if (dryRun === undefined) return
  const at = policy.at('metadata', 'annotations', 'istio.io/dry-run')
  if (dryRun !== 'true' && dryRun !== 'false')
    report('SP5010', at, `istio.io/dry-run is ${JSON.stringify(dryRun)}`, { fix: 'write "true" or "false"' })
  else if (dryRun === 'true' && (action === 'AUDIT' || action === 'CUSTOM'))
    report('SP5010', at, `istio.io/dry-run is only for ALLOW and DENY; this policy is ${action}`)
}

function checkRule(policy: Policy, item: RuleSpec, path: Path, report: Report): void {
  if (item.from?.length === 0) report('SP5001', policy.at(...path, 'from'), '`from` must not be empty')
  if (item.to?.length === 0) report('SP5001', policy.at(...path, 'to'), '`to` must not be empty')
  for (const [j, from] of (item.from ?? []).entries()) {
    const here = [...path, 'from', j, 'source']
    checkObject(policy, from.source, here, SOURCE_CHECKS, report)
    checkAccounts(policy, from.source ?? {}, here, report)
  }
  for (const [j, to] of (item.to ?? []).entries())
    checkObject(policy, to.operation, [...path, 'to', j, 'operation'], OPERATION_CHECKS, report)
  for (const [j, condition] of (item.when ?? []).entries()) {
    const here = [...path, 'when', j]
    const { key = '', values = [], notValues = [] } = condition
    const check = checkKey(policy, key, here, report)
    if (values.length === 0 && notValues.length === 0)
      report('SP5001', policy.at(...here), `the condition on ${key || '?'} has neither values nor notValues`)
    checkValues(policy, values, [...here, 'values'], check, report)
    checkValues(policy, notValues, [...here, 'notValues'], check, report)
  }
}

/** A source or operation: at least one non-empty list, every value in order. */
function checkObject(
  policy: Policy,
  object: SourceSpec | OperationSpec | undefined,
  path: Path,
  checks: Readonly<Record<string, ValueCheck>>,
  report: Report,
): void {
  const fields = Object.entries(object ?? {})
  const name = path[path.length - 1] as string
  if (!fields.some(([, values]) => values !== undefined && values.length > 0)) {
    const at = policy.at(...path)
    report('SP5001', at, `\`${name}\` must not be empty`, { fix: 'leave out `from` or `to` to mean any' })
    return
  }
  for (const [field, values] of fields) {
    if (values === undefined) continue
    if (values.length === 0)
      report('SP5025', policy.at(...path, field), `${field} is an empty list and restricts nothing`, {
        fix: 'leave it out, or fill it',
        // In an ALLOW that admits more callers or requests than the list was there for; in a DENY it refuses more.
        ...((policy.spec.action ?? 'ALLOW') === 'ALLOW' ? { severity: 'error' } : {}),
      })
    checkValues(policy, values, [...path, field], checks[field] ?? null, report)
  }
}

function checkAccounts(policy: Policy, from: SourceSpec, path: Path, report: Report): void {
  const filled = (...fields: readonly (keyof SourceSpec)[]) => fields.some((field) => (from[field]?.length ?? 0) > 0)
  if (
    filled('serviceAccounts', 'notServiceAccounts') &&
    filled('principals', 'notPrincipals', 'namespaces', 'notNamespaces')
  )
    report('SP5007', policy.at(...path), 'serviceAccounts cannot be combined with principals or namespaces')
  for (const field of ['serviceAccounts', 'notServiceAccounts'] as const)
    if ((from[field]?.length ?? 0) > MAX_SERVICE_ACCOUNTS)
      report('SP5007', policy.at(...path, field), `more than ${MAX_SERVICE_ACCOUNTS} service accounts`)
}

function checkValues(
  policy: Policy,
  values: readonly string[],
  path: Path,
  check: ValueCheck | null,
  report: Report,
): void {
  for (const [k, value] of values.entries()) {
    const at = policy.at(...path, k)
    if (value === '') {
      report('SP5000', at, `${path.at(-1)} contains an empty string`)
      continue
    }
    const problem = check?.(value) ?? null
    if (problem !== null) report(problem.code, at, problem.why)
  }
}

/** Reports unknown keys; returns the check of the values of a known one. */
function checkKey(policy: Policy, key: string, path: Path, report: Report): ValueCheck | null {
  const at = policy.at(...path, 'key')
  const open = key.indexOf('[')
  const base = open < 0 ? key : key.slice(0, open)
  const argument = open < 0 ? null : key.endsWith(']') ? key.slice(open + 1, -1) : ''
  if (base.startsWith('experimental.envoy.filters.')) {
    if (!argument) report('SP5003', at, `the key ${JSON.stringify(key)} should have the form a[b]`)
    return null
  }
  const row = WHEN_KEYS.find((candidate) => candidate.key === base)
  if (row === undefined) {
    const instead = Object.hasOwn(REPLACED_KEYS, base) ? REPLACED_KEYS[base] : undefined
    report('SP5003', at, key === '' ? 'a condition needs a key' : `unknown condition key ${JSON.stringify(key)}`, {
      fix: instead ?? `one of ${WHEN_KEYS.map((known) => (known.bracket ? `${known.key}[…]` : known.key)).join(', ')}`,
    })
    return null
  }
  if (row.bracket !== (argument !== null) || argument === '') {
    report('SP5003', at, `the key ${JSON.stringify(key)} should be ${row.bracket ? `${base}[name]` : base}`)
    return null
  }
  if (base === 'request.headers' && argument !== null && !/^:?[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(argument))
    report('SP5003', at, `${JSON.stringify(argument)} is not a header name`)
  return row.check ?? null
}

function checkIp(value: string): ReturnType<ValueCheck> {
  return parseCidr(value) === null
    ? { code: 'SP5005', why: `${JSON.stringify(value)} is not an IP address or CIDR range` }
    : null
}

function checkPort(value: string): ReturnType<ValueCheck> {
  return /^\d{1,5}$/.test(value) && Number(value) <= 65535
    ? null
    : { code: 'SP5006', why: `${JSON.stringify(value)} is not a port` }
}

function checkPath(value: string): ReturnType<ValueCheck> {
  const error = pathTemplateError(value)
  return error === null ? null : { code: 'SP5004', why: `path ${JSON.stringify(value)}: ${error}` }
}

function checkServiceAccount(value: string): ReturnType<ValueCheck> {
  const because = (why: string) => ({
    code: 'SP5007' as const,
    why: `service account ${JSON.stringify(value)}: ${why}`,
  })
  if (value.includes('*')) return because('wildcards are not allowed')
  if (value.length > MAX_SERVICE_ACCOUNT_LENGTH) return because(`longer than ${MAX_SERVICE_ACCOUNT_LENGTH} characters`)
  const parts = value.split('/')
  return parts.length > 2 || parts.includes('') ? because('write NAMESPACE/NAME or NAME') : null
}
