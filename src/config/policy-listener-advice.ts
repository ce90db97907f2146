/** What a rule means on the listeners that carry tunnels or know no callers. Findings only; changes nothing. */
import type { ListenerModel, ServerModel } from '../model/listener.ts'
import type { ConditionModel, PolicyModel, RuleModel } from '../model/policy.ts'
import type { Report } from './resource.ts'

const HTTP_ONLY: readonly string[] = ['host', 'method', 'path']

/** Condition keys that only an authenticated caller can satisfy. */
export const IDENTITY: readonly string[] = [
  'source.principal',
  'source.namespace',
  'source.serviceAccount',
  'source.trustDomain',
]

/** Every condition of a rule, wherever it stands. */
export function conditionsOf(rule: RuleModel): readonly ConditionModel[] {
  return [...(rule.from ?? []).flat(), ...(rule.to ?? []).flat(), ...rule.when]
}

/** Reports what of one rule is lost on which listeners. */
export function adviseOnListeners(
  { action }: PolicyModel,
  rule: RuleModel,
  listeners: readonly ListenerModel[],
  report: Report,
): void {
  const reached = listeners.filter((listener) => canReach(rule, listener.bindPort))
  adviseOnTunnels(
    action,
    rule,
    // Nothing leaves by a port that nobody speaks for: no rule is lost there.
    reached.filter(carriesTunnels),
    report,
  )
  adviseOnNobody(action, rule, reached, report)
}

/** True when somebody speaks for tunnels there. */
export function carriesTunnels({ servers }: ListenerModel): boolean {
  return servers.some(({ tunnelTable, name }) => tunnelTable !== null && !name.startsWith('unclaimed:'))
}

/** Behaviour §1.6: on tunnels a DENY loses its HTTP-only conditions and grows; an ALLOW rule with one never matches. */
function adviseOnTunnels(
  action: PolicyModel['action'],
  rule: RuleModel,
  tunnels: readonly ListenerModel[],
  report: Report,
): void {
  const dropped = conditionsOf(rule).filter(isHttpOnly)
  const [first] = dropped
  if (first === undefined || tunnels.length === 0 || action === 'AUDIT') return
  // config/authorizer.ts tells of tunnels.
  if (action === 'CUSTOM') return
  const keys = [...new Set(dropped.map((condition) => condition.key))].join(', ')
  const lost = `on tunnels (port ${ports(tunnels)}) ${keys} cannot be judged: there this rule`
  if (action === 'DENY')
    report('SP5022', first.source, `${lost} refuses all that its other conditions match`, {
      fix: 'add `ports` with the bound HTTP ports if tunnels are not meant',
    })
  else
    report('SP5029', first.source, `${lost} never matches`, {
      fix: 'allow tunnels by a rule of their own (connection.sni, ports), or add `ports` with the bound HTTP ports here',
    })
}

function isHttpOnly({ key }: ConditionModel): boolean {
  return HTTP_ONLY.includes(key) || key.startsWith('request.')
}

/** A caller without a certificate has no identity to ask for: an ALLOW refuses it, a DENY misses it. */
function adviseOnNobody(
  action: PolicyModel['action'],
  rule: RuleModel,
  reached: readonly ListenerModel[],
  report: Report,
): void {
  const asked = [...(rule.from ?? []).flat(), ...rule.when].find(
    ({ key, values }) => IDENTITY.includes(key) && values.length > 0,
  )
  const anonymous = reached.flatMap(({ gatewayPort, servers }) =>
    servers.filter(knowsNobody).map(({ name, tls }) => `${gatewayPort}: ${name}, ${tls?.mode ?? 'plaintext'}`),
  )
  if (asked === undefined || anonymous.length === 0) return
  const result = action === 'ALLOW' ? 'so nothing is permitted by it there' : 'so it refuses nobody there'
  report(
    'SP5030',
    asked.source,
    `${asked.key} never matches callers without identity (${anonymous.join('; ')}), ${result}`,
    {
      fix: 'use MUTUAL or ISTIO_MUTUAL on the server; what is passed through can be told apart by connection.sni and address only',
    },
  )
}

function knowsNobody({ tls }: ServerModel): boolean {
  return tls === null || tls.clientCa === null
}

function ports(listeners: readonly ListenerModel[]): string {
  return listeners.map(({ gatewayPort }) => String(gatewayPort)).join(', ')
}

/** Whether the rule's own port conditions leave this bound port in; 0 is not known before start-up. */
export function canReach(rule: RuleModel, bindPort: number): boolean {
  const fits = (conditions: readonly ConditionModel[]) =>
    conditions.every(({ key, values, notValues }) => {
      if (key !== 'destination.port' || bindPort === 0) return true
      if (notValues.some((value) => Number(value) === bindPort)) return false
      return values.length === 0 || values.some((value) => Number(value) === bindPort)
    })
  return fits(rule.when) && (rule.to === null || rule.to.some(fits))
}
