/**
 * What a cluster with consistent hashing goes by for one request or tunnel (behaviour §5.6; Envoy HashPolicyImpl). Clusters
 * that balance otherwise cost one comparison.
 */
import { type HttpAttributes, headerValues } from '../core/attributes.ts'
import { hash32 } from '../core/hash.ts'
import { targetText } from '../core/request-target.ts'
import type { CallerAddresses } from '../forward/forwarder.ts'
import type { HashKeyModel, LoadBalancerModel } from '../model/cluster.ts'

/**
 * 32 bits unsigned; null: the cluster does not hash, or the request has not what its key names (any endpoint will do).
 * `http` null: a tunnel, of which only the source address is known.
 */
export function hashOf(balancer: LoadBalancerModel, sourceIp: string, http: HttpAttributes | null): number | null {
  if (balancer.kind !== 'RING_HASH' && balancer.kind !== 'MAGLEV') return null
  const { key } = balancer
  if (key.kind === 'source-ip') return hash32(sourceIp)
  const value = http === null ? null : valueOf(key, http)
  return value === null ? null : hash32(value)
}

export type GeneratedCookie = { readonly hash: number; readonly setCookie: string }

/**
 * The cookie that will bring this caller back to the same endpoint, when the cluster asks for one (`httpCookie` with a
 * ttl) and the request has none; null: nothing to set. As in Envoy it follows from the caller's connection, so requests
 * that race on it are given the same one.
 */
export function generatedCookie(
  balancer: LoadBalancerModel,
  http: HttpAttributes,
  caller: CallerAddresses,
): GeneratedCookie | null {
  if (balancer.kind !== 'RING_HASH' && balancer.kind !== 'MAGLEV') return null
  const { key } = balancer
  if (key.kind !== 'cookie' || key.ttlMs === null || cookieValue(http, key.name) !== null) return null
  const { sourceIp, sourcePort, destinationIp, destinationPort } = caller
  const ends = `${sourceIp}:${sourcePort}${destinationIp}:${destinationPort}`
  const value = hash32(ends).toString(16).padStart(8, '0') + hash32(ends, 1).toString(16).padStart(8, '0')
  // Whole seconds; a ttl that rounds to none would read as a session cookie.
  const maxAge = key.ttlMs === 0 ? '' : `; Max-Age=${Math.max(1, Math.floor(key.ttlMs / 1000))}`
  const path = key.path === null || key.path === '' ? '' : `; Path=${key.path}`
  return { hash: hash32(value), setCookie: `${key.name}="${value}"${maxAge}${path}; HttpOnly` }
}

function valueOf(key: Exclude<HashKeyModel, { kind: 'source-ip' }>, http: HttpAttributes): string | null {
  if (key.kind === 'cookie') return cookieValue(http, key.name)
  if (key.kind === 'query') return queryValue(http.query, key.name)
  switch (key.name) {
    case ':authority':
    case 'host':
      return http.authority.text
    case ':path':
      return targetText(http)
    case ':method':
      return http.method
    default: {
      const values = headerValues(http.headers, key.name)
      // In whatever order they came, the same values mean the same endpoint.
      return values.length === 0 ? null : values.sort().join('\0')
    }
  }
}

/** The first cookie of that name, quotes off (Envoy parseCookieValue); null: none, or an empty one. */
function cookieValue({ headers }: HttpAttributes, name: string): string | null {
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i] !== 'cookie') continue
    for (const pair of (headers[i + 1] as string).split(';')) {
      const equals = pair.indexOf('=')
      if (equals === -1 || pair.slice(0, equals).trim() !== name) continue
      const value = pair.slice(equals + 1).trim()
      const bare = value.length > 1 && value.startsWith('"') && value.endsWith('"') ? value.slice(1, -1) : value
      return bare === '' ? null : bare
    }
  }
  return null
}

/** The first parameter of that name, as it was sent. */
function queryValue(query: string | null, name: string): string | null {
  if (query === null) return null
  for (const pair of query.split('&')) {
    const equals = pair.indexOf('=')
    if ((equals === -1 ? pair : pair.slice(0, equals)) === name) return equals === -1 ? '' : pair.slice(equals + 1)
  }
  return null
}
