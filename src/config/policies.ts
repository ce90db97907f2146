/**
 * The AuthorizationPolicies of this gateway: which apply (behaviour §1.7), what their rules say as conditions (as istio's
 * pilot/pkg/security/authz/model). Whom CUSTOM policies ask is config/authorizer.ts.
 */
import type { ListenerModel } from '../model/listener.ts'
import type { ConditionModel, PolicyModel, RuleModel } from '../model/policy.ts'
import type { Settings } from '../model/settings.ts'
import type { TokenRuleModel } from '../model/token.ts'
import type { AuthorizationPolicySpec, OperationSpec, RuleSpec, SourceSpec } from './kinds/authorization-policy.ts'
import { adviseOnPolicy } from './policy-advice.ts'
import { conditionsOf } from './policy-listener-advice.ts'
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
 * tunnel warnings are checked against (else `settings.ports`); `tokenRules`, which tokens are verified.
 */
export function lowerPolicies(
  settings: Settings,
  resources: readonly Resource[],
  report: Report,
  listeners: readonly ListenerModel[] = [],
  tokenRules: readonly TokenRuleModel[] = [],
): readonly PolicyModel[] {
  const policies: PolicyModel[] = []
  for (const resource of resources) {
    if (!resource.apiVersion.startsWith('security.istio.io/')) continue
    if (resource.kind !== 'AuthorizationPolicy') continue
    const policy = resource as Policy
    if (!selectsGateway(policy, settings, report)) continue
    const model = lowerPolicy(policy, settings, report)
    adviseOnPolicy(policy, model, settings, listeners, report)
    adviseOnTokens(model, tokenRules, report)
    policies.push(model)
  }
  return policies.sort((a, b) => compare(a.name, b.name) || compare(a.namespace, b.namespace))
}

/** By code unit, so that the order depends on no locale. */
function compare(a: string, b: string): number {
  if (a === b) return 0
  return a < b ? -1 : 1
}

function lowerPolicy(policy: Policy, settings: Settings, report: Report): PolicyModel {
  const { action = 'ALLOW', provider, rules = [] } = policy.spec
  return {
    namespace: policy.namespace,
    name: policy.name,
    action,
    ...(action === 'CUSTOM' ? { provider: provider?.name ?? '' } : {}),
    dryRun: policy.annotations['istio.io/dry-run'] === 'true',
    source: policy.at(),
    rules: rules.map((rule, i) => lowerRule(policy, rule, ['spec', 'rules', i], settings, report)),
  }
}

function lowerRule(policy: Policy, rule: RuleSpec, path: Path, settings: Settings, report: Report): RuleModel {
  const condition = (key: string, values: readonly string[], notValues: readonly string[], at: Path) => {
    if (key.startsWith('experimental.'))
      report('SP5013', policy.at(...at), `${key} cannot be judged by this gateway`, {
        fix: (policy.spec.action ?? 'ALLOW') === 'ALLOW' ? 'the rule never matches' : 'the condition is taken to hold',
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

/** Where no token is verified no request has one: an ALLOW that asks for one never matches, a negated DENY always. */
function adviseOnTokens(policy: PolicyModel, tokenRules: readonly TokenRuleModel[], report: Report): void {
  const conditions = policy.rules.flatMap(conditionsOf)
  if (tokenRules.length > 0) return adviseOnIssuers(conditions, tokenRules, report)
  const asked = conditions.find(({ key }) => key.startsWith('request.auth.'))
  if (asked === undefined) return
  const name = `AuthorizationPolicy ${policy.namespace}/${policy.name}`
  report(
    'SP8202',
    asked.source,
    `${name} asks for ${asked.key}, but no token is verified here, so no request has one`,
    {
      fix: 'add a RequestAuthentication that selects this gateway',
    },
  )
}

/** A principal of an issuer that no rule is for; a star stands for any, and only at the beginning or the end. */
function adviseOnIssuers(
  conditions: readonly ConditionModel[],
  tokenRules: readonly TokenRuleModel[],
  report: Report,
): void {
  const issuers = tokenRules.map(({ issuer }) => issuer)
  if (issuers.includes(null)) return
  for (const { key, values, notValues, source } of conditions) {
    if (key !== 'request.auth.principal') continue
    for (const value of [...values, ...notValues]) {
      const issuer = value.slice(0, Math.max(value.lastIndexOf('/'), 0))
      if (issuer === '' || issuer.startsWith('*') || issuers.includes(issuer)) continue
      report('SP8206', source, `no token of the issuer ${JSON.stringify(issuer)} is verified here`, {
        fix: `the issuers are ${issuers.map((each) => JSON.stringify(each)).join(', ')}; a principal is ISSUER/SUBJECT`,
      })
    }
  }
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
