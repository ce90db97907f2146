/**
 * What Istio refuses or warns about in a DestinationRule, as far as the resource alone tells
 * (istio pkg/config/validation/validation.go `validateTrafficPolicy` and what it calls; agent/validation.go `ValidateTLS`).
 */
import { isIP } from 'node:net'
import { hostProblem, isLabel } from '../hostname.ts'
import type { Report, Resource } from '../resource.ts'
import { exportProblem } from '../visibility.ts'
import { checkLoadBalancer } from './destination-rule-balancer-checks.ts'
import type {
  ClientTlsSettings,
  ConnectionPoolSpec,
  DestinationRuleSpec,
  OutlierDetectionSpec,
  PortTrafficPolicy,
  TrafficPolicySpec,
} from './destination-rule-schema.ts'
import { checkDuration, type Wrong } from './duration-check.ts'
import { labelsProblem } from './labels-check.ts'

type Path = readonly (string | number)[]

export function checkDestinationRule(resource: Resource<DestinationRuleSpec>, report: Report): void {
  const { spec } = resource
  const wrong = wrongBelow(resource, ['spec'], report)
  // Unlike a ServiceEntry, a DestinationRule may speak of every host.
  const problem = spec.host === '*' ? null : hostProblem(spec.host)
  if (problem !== null) wrong(['host'], problem)
  const exported = exportProblem(spec.exportTo ?? [], resource.namespace)
  if (exported !== null) wrong(['exportTo'], `exportTo: ${exported}`)
  checkSelector(resource, report, wrong)
  if (spec.trafficPolicy !== undefined) checkPolicy(resource, spec.trafficPolicy, ['spec', 'trafficPolicy'], report)
  const names = new Set<string>()
  for (const [i, subset] of (spec.subsets ?? []).entries()) {
    if (names.has(subset.name)) wrong(['subsets', i, 'name'], `two subsets are called "${subset.name}"`)
    names.add(subset.name)
    // The name becomes part of the cluster's. Capitals are legal in Istio's labels.
    if (!isLabel(subset.name.toLowerCase()))
      wrong(['subsets', i, 'name'], `"${subset.name}" is not a name (a DNS label)`)
    const label = labelsProblem(subset.labels ?? {})
    if (label !== null) wrong(['subsets', i, 'labels', label.key], label.message)
    if (subset.trafficPolicy !== undefined)
      checkPolicy(resource, subset.trafficPolicy, ['spec', 'subsets', i, 'trafficPolicy'], report)
  }
}

function wrongBelow(resource: Resource, above: Path, report: Report): Wrong {
  return (path, message, fix) =>
    report('SP7000', resource.at(...above, ...path), message, fix === undefined ? {} : { fix })
}

function checkSelector(resource: Resource<DestinationRuleSpec>, report: Report, wrong: Wrong): void {
  const { workloadSelector, exportTo } = resource.spec
  if (workloadSelector === undefined) return
  if ((exportTo ?? []).some((entry) => entry !== '.' && entry !== resource.namespace))
    wrong(['exportTo'], 'a rule with a workloadSelector can be exported to "." only')
  const labels = Object.entries(workloadSelector.matchLabels ?? {})
  if (labels.length === 0)
    report('SP7024', resource.at('spec', 'workloadSelector'), 'workloadSelector without labels selects every workload')
  for (const [key, value] of labels)
    if (key === '' || `${key}${value}`.includes('*'))
      wrong(['workloadSelector', 'matchLabels', key], 'labels are compared exactly: no empty keys, no "*"')
}

function checkPolicy(resource: Resource, policy: TrafficPolicySpec, path: Path, report: Report): void {
  const wrong = wrongBelow(resource, path, report)
  if (Object.values(policy).every((block) => block === undefined))
    wrong([], 'a trafficPolicy must say something', 'remove it')
  if (policy.tunnel !== undefined && policy.proxyProtocol !== undefined)
    wrong(['proxyProtocol'], 'tunnel and proxyProtocol exclude each other')
  if (policy.tunnel !== undefined) checkTunnel(policy.tunnel, wrong)
  checkPortPolicy(resource, policy, path, report)
  const ports = new Set<number>()
  for (const [i, entry] of (policy.portLevelSettings ?? []).entries()) {
    const here = ['portLevelSettings', i]
    const { number } = entry.port
    if (ports.has(number)) wrong([...here, 'port', 'number'], `port ${number} is listed twice`)
    ports.add(number)
    const { port: _, ...blocks } = entry
    if (Object.values(blocks).every((block) => block === undefined))
      wrong(here, `the settings of port ${number} must say something`, 'remove them')
    checkPortPolicy(resource, entry, [...path, ...here], report)
  }
}

function checkTunnel(tunnel: NonNullable<TrafficPolicySpec['tunnel']>, wrong: Wrong): void {
  const { protocol = '', targetHost } = tunnel
  if (!['', 'CONNECT', 'POST'].includes(protocol)) wrong(['tunnel', 'protocol'], `"${protocol}": CONNECT or POST`)
  if (isIP(targetHost) === 0 && (hostProblem(targetHost) !== null || targetHost.startsWith('*')))
    wrong(['tunnel', 'targetHost'], `"${targetHost}" is neither an IP address nor a host name`)
}

function checkPortPolicy(resource: Resource, policy: PortTrafficPolicy, path: Path, report: Report): void {
  const wrong = wrongBelow(resource, path, report)
  if (policy.connectionPool !== undefined) checkPool(policy.connectionPool, wrong)
  if (policy.outlierDetection !== undefined) checkOutlier(policy.outlierDetection, resource, path, report, wrong)
  if (policy.loadBalancer !== undefined) checkLoadBalancer(policy.loadBalancer, resource, path, report, wrong)
  if (policy.tls !== undefined) checkTls(resource, policy.tls, [...path, 'tls'], report)
}

function checkPool({ tcp, http }: ConnectionPoolSpec, wrong: Wrong): void {
  if (tcp === undefined && http === undefined) wrong(['connectionPool'], 'connectionPool needs tcp or http')
  const below = (part: 'tcp' | 'http', ...path: string[]) => ['connectionPool', part, ...path]
  if (tcp !== undefined) {
    checkDuration(tcp.connectTimeout, below('tcp', 'connectTimeout'), wrong)
    checkDuration(tcp.maxConnectionDuration, below('tcp', 'maxConnectionDuration'), wrong)
    // 0s turns it off.
    if (tcp.idleTimeout !== 0) checkDuration(tcp.idleTimeout, below('tcp', 'idleTimeout'), wrong)
    checkDuration(tcp.tcpKeepalive?.time, below('tcp', 'tcpKeepalive', 'time'), wrong)
    checkDuration(tcp.tcpKeepalive?.interval, below('tcp', 'tcpKeepalive', 'interval'), wrong)
  }
  if (http === undefined) return
  checkDuration(http.idleTimeout, below('http', 'idleTimeout'), wrong)
  if (http.h2UpgradePolicy === 'UPGRADE' && http.useClientProtocol === true)
    wrong(below('http', 'useClientProtocol'), 'useClientProtocol and h2UpgradePolicy: UPGRADE exclude each other')
  const alive = http.http2KeepAlive
  if (alive === undefined) return
  for (const key of ['interval', 'timeout'] as const) {
    const path = below('http', 'http2KeepAlive', key)
    if (alive[key] === undefined) wrong(path, `http2KeepAlive needs ${key}`)
    checkDuration(alive[key], path, wrong)
  }
}

function checkOutlier(
  outlier: OutlierDetectionSpec,
  resource: Resource,
  path: Path,
  report: Report,
  wrong: Wrong,
): void {
  const below = (key: keyof OutlierDetectionSpec) => ['outlierDetection', key]
  checkDuration(outlier.interval, below('interval'), wrong)
  checkDuration(outlier.baseEjectionTime, below('baseEjectionTime'), wrong)
  if ((outlier.consecutiveLocalOriginFailures ?? 0) > 0 && outlier.splitExternalLocalOriginErrors !== true)
    wrong(
      below('consecutiveLocalOriginFailures'),
      'consecutiveLocalOriginFailures needs splitExternalLocalOriginErrors: true',
    )
  if ((outlier.consecutiveErrors ?? 0) !== 0)
    report('SP7023', resource.at(...path, ...below('consecutiveErrors')), 'consecutiveErrors is deprecated', {
      fix: 'write consecutiveGatewayErrors or consecutive5xxErrors; it is read as consecutiveGatewayErrors',
    })
}

const FILES = ['clientCertificate', 'privateKey', 'caCertificates', 'caCrl'] as const

/** `ValidateTLS`, plus behaviour §5.3 on ISTIO_MUTUAL. */
function checkTls(resource: Resource, settings: ClientTlsSettings, path: Path, report: Report): void {
  const given = (key: keyof ClientTlsSettings) => settings[key] !== undefined && settings[key] !== ''
  const wrong = (key: keyof ClientTlsSettings, message: string) => report('SP7000', resource.at(...path, key), message)
  const mode = settings.mode ?? 'DISABLE'
  if (settings.mode === undefined)
    report('SP7010', resource.at(...path), 'tls without a mode is DISABLE: requests leave in plain text', {
      fix: 'write mode: SIMPLE (or MUTUAL, or DISABLE if that is meant)',
    })
  if (settings.insecureSkipVerify === true) {
    for (const key of ['caCertificates', 'subjectAltNames', 'caCrl'] as const)
      if (given(key)) wrong(key, `${key} has no meaning with insecureSkipVerify: true`)
    if (mode === 'SIMPLE' && given('credentialName'))
      wrong('credentialName', 'credentialName (a CA, in mode SIMPLE) has no meaning with insecureSkipVerify: true')
  }
  if ((mode === 'SIMPLE' || mode === 'MUTUAL') && given('credentialName')) {
    for (const key of FILES) if (given(key)) wrong(key, `${key} and credentialName exclude each other`)
  } else if (mode === 'MUTUAL') {
    for (const key of ['clientCertificate', 'privateKey'] as const)
      if (!given(key)) wrong(key, `mode MUTUAL needs ${key} (or credentialName)`)
  } else if (mode === 'ISTIO_MUTUAL') {
    for (const key of [...FILES, 'credentialName'] as const)
      if (given(key)) wrong(key, `mode ISTIO_MUTUAL uses the mesh certificate: ${key} must not be set`)
  }
}
