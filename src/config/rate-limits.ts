/** The EgressRateLimits of this gateway → LimitModels: which apply (as policies do, behaviour §1.7), and what they need. */
import type { LimitModel, LimitQuota, LimitUnit } from '../model/limits.ts'
import type { ConditionModel } from '../model/policy.ts'
import type { Settings } from '../model/settings.ts'
import type { EgressRateLimitSpec, LimitOperationSpec, LimitSourceSpec, LimitSpec } from './kinds/egress-rate-limit.ts'
import { selectsGateway } from './policy-target.ts'
import type { Report, Resource } from './resource.ts'
import { expandPrincipals } from './trust-domains.ts'

type RateLimit = Resource<EgressRateLimitSpec>
type Path = readonly (string | number)[]
type FieldRow<Spec> = readonly [keyof Spec & string, keyof Spec & string, string]

/** TABLE: fields → condition key (a row of policy/conditions.ts). */
const SOURCE_FIELDS: readonly FieldRow<LimitSourceSpec>[] = [
  ['principals', 'notPrincipals', 'source.principal'],
  ['namespaces', 'notNamespaces', 'source.namespace'],
  ['serviceAccounts', 'notServiceAccounts', 'source.serviceAccount'],
]
const OPERATION_FIELDS: readonly FieldRow<LimitOperationSpec>[] = [
  ['hosts', 'notHosts', 'host'],
  ['methods', 'notMethods', 'method'],
  ['paths', 'notPaths', 'path'],
]

const PERIOD_MS = { second: 1000, minute: 60_000, hour: 3_600_000, day: 86_400_000 } as const

/** Per cent of a budget after which callers are warned. */
const WARN_AT = 80

/** The limits that apply to this gateway, ordered by id. Reports those that lack Redis or a place for their state. */
export function lowerRateLimits(
  settings: Settings,
  resources: readonly Resource[],
  report: Report,
): readonly LimitModel[] {
  const limits: LimitModel[] = []
  for (const resource of resources) {
    if (resource.kind !== 'EgressRateLimit' || !resource.apiVersion.startsWith('sallyport.dev/')) continue
    const rateLimit = resource as RateLimit
    if (!selectsGateway(rateLimit, settings, report)) {
      // Of a policy that may be meant for others nothing is said; a limit is meant for gateways alone.
      if (rateLimit.spec.selector === undefined)
        report('SP8007', rateLimit.at('metadata', 'namespace'), notOurs(rateLimit, settings), {
          fix: `write namespace: ${settings.namespace} if it is meant for this gateway`,
        })
      continue
    }
    for (const [i, spec] of rateLimit.spec.limits.entries()) {
      const path = ['spec', 'limits', i]
      checkNeeds(rateLimit, spec, path, settings, report)
      const model = lowerLimit(rateLimit, spec, path, settings)
      if (model !== null) limits.push(model)
    }
  }
  return limits.sort((a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0))
}

function notOurs({ namespace, name }: RateLimit, settings: Settings): string {
  return `EgressRateLimit ${namespace}/${name} is not for this gateway, which is in namespace ${settings.namespace}`
}

/** null: the resource's own check has said what is wrong. */
function lowerLimit(resource: RateLimit, spec: LimitSpec, path: Path, settings: Settings): LimitModel | null {
  const quota = quotaOf(spec)
  if (quota === null) return null
  const { name, from, to, key, scope = 'local', mode = 'enforce', onStoreFailure = 'closed' } = spec
  const conditions = conditionsOf(resource, settings)
  const bytes = spec.budget ?? spec.bytes
  return {
    id: `${resource.namespace}/${resource.name}/${name}`,
    name,
    source: resource.at(...path),
    from: from?.map((entry, i) => conditions(entry, SOURCE_FIELDS, [...path, 'from', i])) ?? null,
    to: to?.map((entry, i) => conditions(entry, OPERATION_FIELDS, [...path, 'to', i])) ?? null,
    key,
    unit: unitOf(spec),
    direction: bytes?.direction ?? 'both',
    quota,
    scope,
    mode,
    onStoreFailure,
  }
}

function unitOf({ tunnels, bytes, budget }: LimitSpec): LimitUnit {
  if (tunnels !== undefined) return 'tunnels'
  return bytes !== undefined || budget?.bytes !== undefined ? 'bytes' : 'requests'
}

function quotaOf({ requests, bytes, tunnels, budget }: LimitSpec): LimitQuota | null {
  if (tunnels !== undefined) return { kind: 'concurrent', count: tunnels.count }
  if (budget !== undefined) {
    const { per, warnAt = WARN_AT } = budget
    return { kind: 'budget', count: budget.bytes ?? budget.requests ?? 1, per, warnAt }
  }
  const rate = requests ?? bytes
  if (rate === undefined) return null
  return { kind: 'rate', count: rate.count, periodMs: PERIOD_MS[rate.per], burst: rate.burst ?? rate.count }
}

function conditionsOf(resource: RateLimit, { mesh }: Settings) {
  const domains = [mesh.trustDomain, ...mesh.trustDomainAliases]
  // As in AuthorizationPolicy: principals in every alias of the trust domain, accounts of the resource's own namespace.
  const lower = (key: string, values: readonly string[]): readonly string[] => {
    if (key === 'source.principal') return expandPrincipals(values, domains)
    if (key !== 'source.serviceAccount') return values
    return values.map((value) => (value.includes('/') ? value : `${resource.namespace}/${value}`))
  }
  return <Spec extends LimitSourceSpec | LimitOperationSpec>(
    entry: Spec,
    table: readonly FieldRow<Spec>[],
    at: Path,
  ): ConditionModel[] =>
    table.flatMap(([field, notField, key]) => {
      const values = (entry[field] ?? []) as readonly string[]
      const notValues = (entry[notField] ?? []) as readonly string[]
      if (values.length === 0 && notValues.length === 0) return []
      const source = resource.at(...at, values.length > 0 ? field : notField)
      return [{ key, values: lower(key, values), notValues: lower(key, notValues), source }]
    })
}

function checkNeeds(resource: RateLimit, spec: LimitSpec, path: Path, settings: Settings, report: Report): void {
  const { name, scope = 'local', budget } = spec
  if (scope === 'global' && settings.redis === null)
    report('SP8005', resource.at(...path, 'scope'), `limit ${name} is global, and this gateway has no Redis`, {
      fix: 'set spec.redis in the bootstrap file, or write scope: local',
    })
  if (scope === 'local' && budget !== undefined && settings.stateDirectory === null)
    report('SP8006', resource.at(...path, 'budget'), `the local budget of limit ${name} could not survive a restart`, {
      fix: 'set spec.stateDirectory in the bootstrap file, or write scope: global',
    })
}
