/** loadBalancer of a traffic policy → how a cluster chooses among its endpoints (behaviour §5.6). */
import type { HashKeyModel, LoadBalancerModel, WarmupModel } from '../model/cluster.ts'
import type { LoadBalancerSpec } from './kinds/destination-rule-schema.ts'
import type { Report } from './resource.ts'
import type { PlacedPolicy } from './traffic-policy.ts'

const SIMPLE = {
  UNSPECIFIED: 'LEAST_REQUEST',
  LEAST_CONN: 'LEAST_REQUEST',
  LEAST_REQUEST: 'LEAST_REQUEST',
  ROUND_ROBIN: 'ROUND_ROBIN',
  RANDOM: 'RANDOM',
  /** The caller's original destination is the gateway itself: it means nothing here. */
  PASSTHROUGH: null,
} as const

/** One object for all clusters of which nothing is said. */
const LEAST_REQUEST: LoadBalancerModel = { kind: 'LEAST_REQUEST', warmup: null }

const RING_SIZE = 1024
const TABLE_SIZE = 65_537

export function lowerLoadBalancer(placed: PlacedPolicy | null, report: Report): LoadBalancerModel {
  const spec = placed?.policy.loadBalancer
  if (placed === null || spec === undefined) return LEAST_REQUEST
  const key = hashKey(spec.consistentHash)
  if (key !== null) return hashing(key, spec.consistentHash)
  const kind = SIMPLE[spec.simple ?? 'UNSPECIFIED']
  if (kind === null)
    report('SP7014', placed.at('loadBalancer', 'simple'), 'PASSTHROUGH means nothing at a gateway', {
      fix: 'LEAST_REQUEST is used',
    })
  // Envoy knows slow start for these two only.
  return { kind: kind ?? 'LEAST_REQUEST', warmup: kind === 'RANDOM' ? null : warmup(spec) }
}

function warmup(spec: LoadBalancerSpec): WarmupModel | null {
  const durationMs = spec.warmup?.duration ?? spec.warmupDurationSecs
  if (durationMs === undefined) return null
  return {
    durationMs,
    minimumPercent: spec.warmup?.minimumPercent ?? 10,
    aggression: spec.warmup?.aggression ?? 1,
  }
}

type HashSpec = LoadBalancerSpec['consistentHash']

function hashing(key: HashKeyModel, spec: HashSpec): LoadBalancerModel {
  if (spec?.maglev !== undefined) return { kind: 'MAGLEV', tableSize: spec.maglev.tableSize || TABLE_SIZE, key }
  return {
    kind: 'RING_HASH',
    minimumRingSize: spec?.ringHash?.minimumRingSize || spec?.minimumRingSize || RING_SIZE,
    key,
  }
}

/** Exactly one is given (kinds/destination-rule-balancer-checks.ts). */
function hashKey(spec: HashSpec): HashKeyModel | null {
  if (spec === undefined) return null
  const { httpHeaderName = '', httpCookie, useSourceIp = false, httpQueryParameterName = '' } = spec
  if (httpHeaderName !== '') return { kind: 'header', name: httpHeaderName.toLowerCase() }
  if (httpCookie !== undefined) {
    const { name, path = '', ttl } = httpCookie
    return { kind: 'cookie', name, path: path === '' ? null : path, ttlMs: ttl ?? null }
  }
  if (useSourceIp) return { kind: 'source-ip' }
  return httpQueryParameterName === '' ? null : { kind: 'query', name: httpQueryParameterName }
}
