/**
 * host[:port] of a request, and SNI: one canonical form or a refusal (threats 20, 25, 40).
 * Equal after canonicalisation means equal decision, so both rules and requests go through here.
 */
import { isIPv4, isIPv6 } from 'node:net'
import type { Authority } from './attributes.ts'

const NAME = /^(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/
const NUMERIC_LAST_LABEL = /(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)$/

/**
 * Canonical form of a host without port: lower case, one trailing dot off; IP literals only as RFC 5952 / dotted quad
 * would print them. null: not a host, or an ambiguous spelling (`127.1`, `0x7f.1`, non-ASCII, empty label).
 */
export function canonicalHost(text: string): { readonly host: string; readonly isIp: boolean } | null {
  let host = text.toLowerCase()
  if (host.endsWith('.')) host = host.slice(0, -1)
  if (host.length === 0 || host.length > 253) return null
  if (!NAME.test(host)) return null
  if (NUMERIC_LAST_LABEL.test(host)) return isIPv4(host) && text === host ? { host, isIp: true } : null
  return { host, isIp: false }
}

/** IPv6 literal (without brackets) in its canonical text, or null. Zone identifiers are refused. */
function canonicalIpv6(text: string): string | null {
  const lower = text.toLowerCase()
  if (!isIPv6(lower) || lower.includes('%')) return null
  // The WHATWG parser prints one spelling per address; any other spelling of it is refused, not repaired.
  const url = URL.canParse(`http://[${lower}]/`) ? new URL(`http://[${lower}]/`).hostname.slice(1, -1) : null
  return url === lower ? lower : null
}

/** Decimal port without leading zeros, 1–65535; null otherwise. */
function parsePort(text: string): number | null {
  if (!/^[1-9][0-9]{0,4}$/.test(text)) return null
  const port = Number(text)
  return port <= 65535 ? port : null
}

/** Parses `host[:port]` (RFC 9110 §7.2, RFC 3986 §3.2 without userinfo). null: malformed or ambiguous → 400. */
export function parseAuthority(text: string): Authority | null {
  if (text.startsWith('[')) {
    const end = text.indexOf(']')
    if (end < 0) return null
    const host = canonicalIpv6(text.slice(1, end))
    if (host === null) return null
    const rest = text.slice(end + 1)
    if (rest === '') return { host, port: null, text: `[${host}]`, isIp: true }
    if (!rest.startsWith(':')) return null
    const port = parsePort(rest.slice(1))
    return port === null ? null : { host, port, text: `[${host}]:${port}`, isIp: true }
  }
  const colon = text.indexOf(':')
  const named = canonicalHost(colon < 0 ? text : text.slice(0, colon))
  if (named === null) return null
  if (colon < 0) return { host: named.host, port: null, text: named.host, isIp: named.isIp }
  const port = parsePort(text.slice(colon + 1))
  return port === null ? null : { host: named.host, port, text: `${named.host}:${port}`, isIp: named.isIp }
}

/** Canonical SNI (RFC 6066 §3: a DNS name, no IP literal), or null when it is none. */
export function canonicalSni(text: string): string | null {
  const named = canonicalHost(text)
  return named === null || named.isIp ? null : named.host
}
