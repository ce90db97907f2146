/** networking.istio.io DestinationRule: schema and Istio's validation rules (behaviour §5). */
import { z } from 'zod'
import { hostProblem } from '../hostname.ts'
import type { KindModule, Report, Resource, UnsupportedField } from '../resource.ts'
import { bool, duration, enumeration, float, int, nonEmpty, port, stringMap, text } from '../schema.ts'
import { exportProblem } from '../visibility.ts'

const int32 = int(-0x80000000, 0x7fffffff)
const uint32 = int(0, 0xffffffff)
const uint64 = int(0, Number.MAX_SAFE_INTEGER)

/** ClientTLSSettings. Mode names in protobuf order: a missing mode is DISABLE. */
const tls = z.object({
  mode: enumeration(['DISABLE', 'SIMPLE', 'MUTUAL', 'ISTIO_MUTUAL']).optional(),
  clientCertificate: text.optional(),
  privateKey: text.optional(),
  caCertificates: text.optional(),
  caCrl: text.optional(),
  credentialName: text.optional(),
  subjectAltNames: z.array(nonEmpty).optional(),
  sni: text.optional(),
  insecureSkipVerify: bool.optional(),
})

export type ClientTlsSettings = z.infer<typeof tls>

const connectionPool = z.object({
  tcp: z
    .object({
      maxConnections: int32.optional(),
      connectTimeout: duration.optional(),
      idleTimeout: duration.optional(),
      maxConnectionDuration: duration.optional(),
      tcpKeepalive: z
        .object({ probes: uint32.optional(), time: duration.optional(), interval: duration.optional() })
        .optional(),
    })
    .optional(),
  http: z
    .object({
      http1MaxPendingRequests: int32.optional(),
      http2MaxRequests: int32.optional(),
      maxRequestsPerConnection: int32.optional(),
      maxRetries: int32.optional(),
      idleTimeout: duration.optional(),
      h2UpgradePolicy: enumeration(['DEFAULT', 'DO_NOT_UPGRADE', 'UPGRADE']).optional(),
      useClientProtocol: bool.optional(),
      maxConcurrentStreams: int32.optional(),
      http2KeepAlive: z
        .object({
          interval: duration.optional(),
          timeout: duration.optional(),
          connectionIdleInterval: duration.optional(),
        })
        .optional(),
    })
    .optional(),
})

const loadBalancer = z.object({
  simple: enumeration([
    'UNSPECIFIED',
    'LEAST_CONN',
    'RANDOM',
    'PASSTHROUGH',
    'ROUND_ROBIN',
    'LEAST_REQUEST',
  ]).optional(),
  consistentHash: z
    .object({
      httpHeaderName: text.optional(),
      httpCookie: z
        .object({
          name: nonEmpty,
          path: text.optional(),
          ttl: duration.optional(),
          attributes: z.array(z.object({ name: nonEmpty, value: text.optional() })).optional(),
        })
        .optional(),
      useSourceIp: bool.optional(),
      httpQueryParameterName: text.optional(),
      minimumRingSize: uint64.optional(),
      ringHash: z.object({ minimumRingSize: uint64.optional() }).optional(),
      maglev: z.object({ tableSize: uint64.optional() }).optional(),
    })
    .optional(),
  localityLbSetting: z
    .object({
      distribute: z.array(z.object({ from: text.optional(), to: z.record(z.string(), uint32).optional() })).optional(),
      failover: z.array(z.object({ from: text.optional(), to: text.optional() })).optional(),
      failoverPriority: z.array(text).optional(),
      enabled: bool.optional(),
    })
    .optional(),
  warmup: z
    .object({ duration, minimumPercent: float(0, 100).optional(), aggression: float(0, Number.MAX_VALUE).optional() })
    .optional(),
  warmupDurationSecs: duration.optional(),
})

const outlierDetection = z.object({
  consecutiveErrors: int32.optional(),
  splitExternalLocalOriginErrors: bool.optional(),
  consecutiveLocalOriginFailures: uint32.optional(),
  consecutiveGatewayErrors: uint32.optional(),
  consecutive5xxErrors: uint32.optional(),
  interval: duration.optional(),
  baseEjectionTime: duration.optional(),
  maxEjectionPercent: int32.optional(),
  minHealthPercent: int32.optional(),
})

const portTrafficPolicy = {
  connectionPool: connectionPool.optional(),
  loadBalancer: loadBalancer.optional(),
  outlierDetection: outlierDetection.optional(),
  tls: tls.optional(),
}

const portLevel = z.object({ port: z.object({ number: port }), ...portTrafficPolicy })

const trafficPolicy = z.object({
  ...portTrafficPolicy,
  portLevelSettings: z.array(portLevel).max(4096).optional(),
  tunnel: z.object({ protocol: text.optional(), targetHost: nonEmpty, targetPort: port }).optional(),
  proxyProtocol: z.object({ version: enumeration(['V1', 'V2']).optional() }).optional(),
  retryBudget: z.object({ percent: float(0, 100).optional(), minRetryConcurrency: uint32.optional() }).optional(),
})

const schema = z.object({
  host: nonEmpty,
  trafficPolicy: trafficPolicy.optional(),
  subsets: z
    .array(z.object({ name: nonEmpty, labels: stringMap.optional(), trafficPolicy: trafficPolicy.optional() }))
    .optional(),
  exportTo: z.array(text).optional(),
  workloadSelector: z.object({ matchLabels: stringMap.optional() }).optional(),
})

export type DestinationRuleSpec = z.infer<typeof schema>
type TrafficPolicy = z.infer<typeof trafficPolicy>
/** What a port's policy holds; a port-level one stands for the whole (behaviour §5.2). */
export type PortTrafficPolicy = Pick<TrafficPolicy, 'connectionPool' | 'loadBalancer' | 'outlierDetection' | 'tls'>

const NOT_LIMITED = 'the limit is not enforced yet'
const NOT_BALANCED = 'not supported yet; the simple load balancer is used'

/** The same fields at the top and per port. Subsets are unsupported as a whole. */
const UNSUPPORTED: readonly UnsupportedField[] = [
  { path: 'connectionPool.tcp.maxConnections', severity: 'warning', why: NOT_LIMITED },
  { path: 'connectionPool.tcp.idleTimeout', severity: 'warning', why: NOT_LIMITED },
  { path: 'connectionPool.tcp.maxConnectionDuration', severity: 'warning', why: NOT_LIMITED },
  { path: 'connectionPool.tcp.tcpKeepalive', severity: 'warning', why: "the system's keep-alive settings are used" },
  { path: 'connectionPool.http', severity: 'warning', why: 'HTTP connection pool settings are not supported yet' },
  { path: 'loadBalancer.consistentHash', severity: 'warning', why: NOT_BALANCED },
  { path: 'loadBalancer.localityLbSetting', severity: 'warning', why: NOT_BALANCED },
  { path: 'loadBalancer.warmup', severity: 'warning', why: NOT_BALANCED },
  { path: 'loadBalancer.warmupDurationSecs', severity: 'warning', why: NOT_BALANCED },
  { path: 'outlierDetection', severity: 'warning', why: 'failing endpoints are not ejected yet' },
  // Verification must never be weaker than the file says.
  { path: 'tls.caCrl', severity: 'error', why: 'revocation lists for upstream servers are not supported yet' },
]

export const destinationRule: KindModule<DestinationRuleSpec> = {
  kind: 'DestinationRule',
  group: 'networking.istio.io',
  versions: ['v1', 'v1beta1', 'v1alpha3'],
  unknownKeys: 'warning',
  schema,
  specOptional: false,
  unsupported: [
    ...UNSUPPORTED.map((row) => ({ ...row, path: `spec.trafficPolicy.${row.path}` })),
    ...UNSUPPORTED.map((row) => ({ ...row, path: `spec.trafficPolicy.portLevelSettings[].${row.path}` })),
    {
      path: 'spec.trafficPolicy.tunnel',
      severity: 'warning',
      why: 'TCP over an HTTP proxy is not supported; as in Istio it does not concern HTTP routes',
    },
    { path: 'spec.trafficPolicy.proxyProtocol', severity: 'warning', why: 'no PROXY header is sent' },
    { path: 'spec.trafficPolicy.retryBudget', severity: 'warning', why: 'retries are not supported yet' },
    {
      path: 'spec.subsets',
      severity: 'warning',
      why: 'subsets are not supported yet; a route to one answers 503 (NC)',
    },
  ],
  check,
}

type Path = readonly (string | number)[]

function check(resource: Resource<DestinationRuleSpec>, report: Report): void {
  const { spec } = resource
  // Unlike a ServiceEntry, a DestinationRule may speak of every host.
  const problem = spec.host === '*' ? null : hostProblem(spec.host)
  if (problem !== null) report('SP7000', resource.at('spec', 'host'), problem)
  const exported = exportProblem(spec.exportTo ?? [])
  if (exported !== null) report('SP7000', resource.at('spec', 'exportTo'), `exportTo: ${exported}`)
  if (spec.workloadSelector !== undefined && (spec.exportTo ?? []).some((entry) => entry !== '.'))
    report('SP7000', resource.at('spec', 'exportTo'), 'a rule with a workloadSelector can be exported to "." only')
  if (spec.trafficPolicy !== undefined)
    checkTrafficPolicy(resource, spec.trafficPolicy, ['spec', 'trafficPolicy'], report)
  const names = new Set<string>()
  for (const [i, subset] of (spec.subsets ?? []).entries()) {
    if (names.has(subset.name))
      report('SP7000', resource.at('spec', 'subsets', i, 'name'), `two subsets are called "${subset.name}"`)
    names.add(subset.name)
    if (subset.trafficPolicy !== undefined)
      checkTrafficPolicy(resource, subset.trafficPolicy, ['spec', 'subsets', i, 'trafficPolicy'], report)
  }
}

function checkTrafficPolicy(resource: Resource, policy: TrafficPolicy, path: Path, report: Report): void {
  checkPortPolicy(resource, policy, path, report)
  const ports = new Set<number>()
  for (const [i, entry] of (policy.portLevelSettings ?? []).entries()) {
    const here = [...path, 'portLevelSettings', i]
    if (ports.has(entry.port.number))
      report('SP7000', resource.at(...here, 'port', 'number'), `port ${entry.port.number} is listed twice`)
    ports.add(entry.port.number)
    checkPortPolicy(resource, entry, here, report)
  }
}

function checkPortPolicy(resource: Resource, policy: PortTrafficPolicy, path: Path, report: Report): void {
  const { loadBalancer: balancer, tls: settings } = policy
  if (balancer?.simple !== undefined && balancer.consistentHash !== undefined)
    report('SP7000', resource.at(...path, 'loadBalancer'), 'simple and consistentHash exclude each other')
  const timeout = policy.connectionPool?.tcp?.connectTimeout
  if (timeout !== undefined && timeout < 1)
    report(
      'SP7000',
      resource.at(...path, 'connectionPool', 'tcp', 'connectTimeout'),
      'connectTimeout must be 1ms or more',
    )
  if (settings !== undefined) checkTls(resource, settings, [...path, 'tls'], report)
}

const FILES = ['clientCertificate', 'privateKey', 'caCertificates', 'caCrl'] as const

/** istio pkg/config/validation `validateTLS`, plus §5.3 on ISTIO_MUTUAL. */
function checkTls(resource: Resource, settings: ClientTlsSettings, path: Path, report: Report): void {
  const given = (key: keyof ClientTlsSettings) => settings[key] !== undefined && settings[key] !== ''
  const wrong = (key: keyof ClientTlsSettings, message: string) => report('SP7000', resource.at(...path, key), message)
  const mode = settings.mode ?? 'DISABLE'
  if (settings.mode === undefined)
    report('SP7010', resource.at(...path), 'tls without a mode is DISABLE: requests leave in plain text', {
      fix: 'write mode: SIMPLE (or MUTUAL, or DISABLE if that is meant)',
    })
  if (settings.insecureSkipVerify === true) {
    for (const key of ['caCertificates', 'subjectAltNames'] as const)
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
