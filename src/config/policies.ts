/**
 * The AuthorizationPolicies of this gateway: which apply (behaviour §1.7), what their rules say as conditions (as istio's
 * pilot/pkg/security/authz/model), and what cannot be honoured yet. CUSTOM and JWT never load as "allow": they are errors.
 */
import type { ListenerModel } from '../model/listener.ts'
import type { ConditionModel, PolicyModel, RuleModel } from '../model/policy.ts'
import type { Settings } from '../model/settings.ts'
import type { AuthorizationPolicySpec, OperationSpec, RuleSpec, SourceSpec } from './kinds/authorization-policy.ts'
import type { RequestAuthenticationSpec } from './kinds/request-authentication.ts'
import { adviseOnPolicy } from './policy-advice.ts'
import { selectsGateway } from './policy-target.ts'
import type { Report, Resource } from './resource.ts'
import { expandPrincipals, expandTrustDomains } from './trust-domains.ts'

type Policy = Resource<AuthorizationPolicySpec>
type Path = readonly (string | number)[]
/** [field, its `not` twin, condition key]. */
type FieldRow<Spec> = readonly [keyof Spec & string, keyof Spec & string, string]

/** TABLE: fields of `source` → condition key (a row of policy/conditions.ts). */
const SOURCE_FIELDS: readonly FieldRow<SourceSpec>[] = [
  ['principals', 'notPrincipals', 'source.principal'],
  ['requestPrincipals', 'notRequestPrincipals', 'request.auth.principal'],
  ['namespaces', 'notNamespaces', 'source.namespace'],
  ['serviceAccounts', 'notServiceAccounts', 'source.serviceAccount'],
  ['trustDomains', 'notTrustDomains', 'source.trustDomain'],
  ['ipBlocks', 'notIpBlocks', 'source.ip'],
  ['remoteIpBlocks', 'notRemoteIpBlocks', 'remote.ip'],
]

/** TABLE: fields of `operation` → condition key. */
const OPERATION_FIELDS: readonly FieldRow<OperationSpec>[] = [
  ['hosts', 'notHosts', 'host'],
  ['ports', 'notPorts', 'destination.port'],
  ['methods', 'notMethods', 'method'],
  ['paths', 'notPaths', 'path'],
]

/**
 * The policies that apply to this gateway, ordered by name, then namespace. `listeners`, when given, are what port and
 * tunnel warnings are checked against (else `settings.ports`). Reports CUSTOM, JWT conditions and RequestAuthentication
 * that apply here as errors.
 */
export function lowerPolicies(
  settings: Settings,
  resources: readonly Resource[],
  report: Report,
  listeners: readonly ListenerModel[] = [],
): readonly PolicyModel[] {
  const policies: PolicyModel[] = []
  for (const resource of resources) {
    if (!resource.apiVersion.startsWith('security.istio.io/')) continue
    if (resource.kind === 'RequestAuthentication')
      refuseAuthentication(resource as Resource<RequestAuthenticationSpec>, settings, report)
    if (resource.kind !== 'AuthorizationPolicy') continue
    const policy = resource as Policy
    if (!selectsGateway(policy, settings, report)) continue
    const model = lowerPolicy(policy, settings, report)
    if (model === null) continue
    adviseOnPolicy(policy, model, settings, listeners, report)
    policies.push(model)
  }
  return policies.sort((a, b) => compare(a.name, b.name) || compare(a.namespace, b.namespace))
}

/** By code unit, so that the order depends on no locale. */
function compare(a: string, b: string): number {
  if (a === b) return 0
  return a < b ? -1 : 1
}

function refuseAuthentication(resource: Resource<RequestAuthenticationSpec>, settings: Settings, report: Report): void {
  if (!selectsGateway(resource, settings, report)) return
  const name = `RequestAuthentication ${resource.namespace}/${resource.name}`
  // Without rules it verifies nothing, so leaving it out changes nothing.
  const severity = (resource.spec.jwtRules ?? []).length === 0 ? 'warning' : 'error'
  report('SP5012', resource.at('spec', 'jwtRules'), `${name} applies to this gateway, which does not verify JWTs yet`, {
    fix: 'give it a selector that leaves this gateway out, or remove it',
    severity,
  })
}

/** null: cannot be honoured (reported). */
function lowerPolicy(policy: Policy, settings: Settings, report: Report): PolicyModel | null {
  const { action = 'ALLOW', rules = [] } = policy.spec
  if (action === 'CUSTOM') {
    const what = `AuthorizationPolicy ${policy.namespace}/${policy.name} has action CUSTOM, which is not supported yet`
    report('SP5011', policy.at('spec', 'action'), what, { fix: 'use ALLOW or DENY, or select other workloads' })
    return null
  }
  return {
    namespace: policy.namespace,
    name: policy.name,
    action,
    dryRun: policy.annotations['istio.io/dry-run'] === 'true',
    source: policy.at(),
    rules: rules.map((rule, i) => lowerRule(policy, rule, ['spec', 'rules', i], settings, report)),
  }
}

function lowerRule(policy: Policy, rule: RuleSpec, path: Path, settings: Settings, report: Report): RuleModel {
  const condition = (key: string, values: readonly string[], notValues: readonly string[], at: Path) => {
    refuseJwt(policy, key, at, report)
    if (key.startsWith('experimental.'))
      report('SP5013', policy.at(...at), `${key} cannot be judged by this gateway`, {
        fix: policy.spec.action === 'DENY' ? 'the condition is taken to hold' : 'the rule never matches',
      })
    const lower = (list: readonly string[]) => lowerValues(key, list, policy, settings)
    return { key, values: lower(values), notValues: lower(notValues), source: policy.at(...at) }
  }
  const object = <Spec extends SourceSpec | OperationSpec>(
    spec: Spec,
    table: readonly FieldRow<Spec>[],
    at: Path,
  ): ConditionModel[] => {
    const conditions: ConditionModel[] = []
    for (const [field, notField, key] of table) {
      const values = (spec[field] ?? []) as readonly string[]
      const notValues = (spec[notField] ?? []) as readonly string[]
      if (values.length === 0 && notValues.length === 0) continue
      conditions.push(condition(key, values, notValues, [...at, values.length > 0 ? field : notField]))
    }
    return conditions
  }
  return {
    source: policy.at(...path),
    from: rule.from?.map((from, i) => object(from.source ?? {}, SOURCE_FIELDS, [...path, 'from', i, 'source'])) ?? null,
    to: rule.to?.map((to, i) => object(to.operation ?? {}, OPERATION_FIELDS, [...path, 'to', i, 'operation'])) ?? null,
    when: (rule.when ?? []).map((when, i) =>
      condition(when.key ?? '', when.values ?? [], when.notValues ?? [], [...path, 'when', i]),
    ),
  }
}

/** A token condition that is dropped would widen access, so the policy does not load at all. */
function refuseJwt(policy: Policy, key: string, at: Path, report: Report): void {
  if (!key.startsWith('request.auth.')) return
  const what = `${at.at(-1) === 'requestPrincipals' || at.at(-1) === 'notRequestPrincipals' ? String(at.at(-1)) : key}`
  const name = `AuthorizationPolicy ${policy.namespace}/${policy.name}`
  report(
    'SP5012',
    policy.at(...at),
    `${name} applies to this gateway and asks for ${what}, but JWTs are not verified yet`,
    {
      fix: 'select other workloads, or use conditions on the caller (principals, namespaces)',
    },
  )
}

/** What a value means once the policy's namespace and the mesh's trust domains are known. */
function lowerValues(key: string, values: readonly string[], policy: Policy, { mesh }: Settings): readonly string[] {
  const domains = [mesh.trustDomain, ...mesh.trustDomainAliases]
  switch (key) {
    case 'source.principal':
      return expandPrincipals(values, domains)
    case 'source.trustDomain':
      return expandTrustDomains(values, domains)
    case 'source.serviceAccount':
      return values.map((value) => (value.includes('/') ? value : `${policy.namespace}/${value}`))
    default:
      return values
  }
}
