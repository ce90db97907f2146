/** networking.istio.io DestinationRule: the closed schema of its `spec` (behaviour §5). */
import { z } from 'zod'
import { bool, duration, enumeration, float, int, nonEmpty, port, stringMap, text } from '../schema.ts'

/** Counts: a negative one is no number of anything (Istio refuses them one by one). 0 is protobuf's "not set". */
const count = int(0, 0x7fffffff)
const percent = int(0, 100)
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
      maxConnections: count.optional(),
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
      http1MaxPendingRequests: count.optional(),
      http2MaxRequests: count.optional(),
      maxRequestsPerConnection: count.optional(),
      maxRetries: count.optional(),
      idleTimeout: duration.optional(),
      h2UpgradePolicy: enumeration(['DEFAULT', 'DO_NOT_UPGRADE', 'UPGRADE']).optional(),
      useClientProtocol: bool.optional(),
      maxConcurrentStreams: count.optional(),
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
  consecutiveErrors: count.optional(),
  splitExternalLocalOriginErrors: bool.optional(),
  consecutiveLocalOriginFailures: uint32.optional(),
  consecutiveGatewayErrors: uint32.optional(),
  consecutive5xxErrors: uint32.optional(),
  interval: duration.optional(),
  baseEjectionTime: duration.optional(),
  maxEjectionPercent: percent.optional(),
  minHealthPercent: percent.optional(),
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

export const schema = z.object({
  host: nonEmpty,
  trafficPolicy: trafficPolicy.optional(),
  subsets: z
    .array(z.object({ name: nonEmpty, labels: stringMap.optional(), trafficPolicy: trafficPolicy.optional() }))
    .optional(),
  exportTo: z.array(text).optional(),
  workloadSelector: z.object({ matchLabels: stringMap.optional() }).optional(),
})

export type DestinationRuleSpec = z.infer<typeof schema>
export type TrafficPolicySpec = z.infer<typeof trafficPolicy>
/** The blocks that a port-level setting replaces, given or not (behaviour §5.2). */
export type PortTrafficPolicy = Pick<TrafficPolicySpec, 'connectionPool' | 'loadBalancer' | 'outlierDetection' | 'tls'>
export type ConnectionPoolSpec = z.infer<typeof connectionPool>
export type LoadBalancerSpec = z.infer<typeof loadBalancer>
export type OutlierDetectionSpec = z.infer<typeof outlierDetection>
export type LocalityLbSpec = NonNullable<LoadBalancerSpec['localityLbSetting']>
