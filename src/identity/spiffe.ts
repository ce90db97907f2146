/**
 * SPIFFE IDs: parse and print. Strict about form (SPIFFE-ID spec §2; behaviour §7.5): anything that two readers could
 * read in two ways is an error here, never repaired.
 */
import type { SpiffeId } from '../core/attributes.ts'

export type SpiffeParse = { readonly id: SpiffeId } | { readonly error: string }

const SCHEME = 'spiffe://'
const MAX_ID_BYTES = 2048
const MAX_TRUST_DOMAIN_BYTES = 255
const TRUST_DOMAIN = /^[a-z0-9._-]+$/
const SEGMENT = /^[A-Za-z0-9._-]+$/

/**
 * Reads a SPIFFE ID. Scheme and trust domain may be in any case and come out in lower case, so that `id.uri` is the one
 * text that policies compare; the path is case-sensitive. An ID without path (`spiffe://td`) parses: it names the
 * trust domain itself and is legal in a CA certificate only. Never throws.
 */
export function parseSpiffeId(uri: string): SpiffeParse {
  // Every accepted character is one byte, so the length in UTF-16 units is a safe stand-in for bytes.
  if (uri.length > MAX_ID_BYTES) return { error: `longer than ${MAX_ID_BYTES} bytes` }
  if (lowerAscii(uri.slice(0, SCHEME.length)) !== SCHEME) return { error: 'the scheme is not spiffe://' }
  const rest = uri.slice(SCHEME.length)
  const slash = rest.indexOf('/')
  const trustDomain = lowerAscii(slash === -1 ? rest : rest.slice(0, slash))
  if (!TRUST_DOMAIN.test(trustDomain))
    return { error: 'the trust domain is empty or holds a character other than a-z 0-9 . - _' }
  if (trustDomain.length > MAX_TRUST_DOMAIN_BYTES)
    return { error: `the trust domain is longer than ${MAX_TRUST_DOMAIN_BYTES} bytes` }
  if (slash === -1) return { id: { uri: SCHEME + trustDomain, trustDomain, namespace: null, serviceAccount: null } }
  const path = rest.slice(slash)
  const segments = path.slice(1).split('/')
  for (const segment of segments) {
    if (segment === '') return { error: 'the path has an empty segment or a trailing slash' }
    if (segment === '.' || segment === '..') return { error: 'the path has a "." or ".." segment' }
    if (!SEGMENT.test(segment)) return { error: 'the path holds a character other than A-Z a-z 0-9 . - _' }
  }
  const [ns, namespace, sa, serviceAccount] = segments
  const istio = segments.length === 4 && ns === 'ns' && sa === 'sa'
  return {
    id: {
      uri: SCHEME + trustDomain + path,
      trustDomain,
      namespace: istio ? (namespace as string) : null,
      serviceAccount: istio ? (serviceAccount as string) : null,
    },
  }
}

/** The SPIFFE ID Istio gives a service account: `spiffe://TD/ns/NS/sa/SA`. Not checked: parse the result to check it. */
export function printSpiffeId(trustDomain: string, namespace: string, serviceAccount: string): string {
  return `${SCHEME}${trustDomain}/ns/${namespace}/sa/${serviceAccount}`
}

/** True for an ID without path, which names a trust domain and no workload. */
export function isTrustDomainId(id: SpiffeId): boolean {
  return id.uri.length === SCHEME.length + id.trustDomain.length
}

/** True when a URI claims to be a SPIFFE ID, well formed or not. */
export function claimsSpiffe(uri: string): boolean {
  return lowerAscii(uri.slice(0, 'spiffe:'.length)) === 'spiffe:'
}

/** ASCII letters only: String.prototype.toLowerCase folds U+212A (KELVIN SIGN) into `k`. */
function lowerAscii(text: string): string {
  return text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase())
}
