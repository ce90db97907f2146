/**
 * One canonical form of the request target, or a refusal. Istio's `pathNormalization` (MeshConfig; behaviour §10.7):
 * the normalised path is both what policy judges and what is sent, so this is not a repair.
 */

/** Istio's MeshConfig.ProxyPathNormalization; DEFAULT is BASE. */
export type PathNormalization = 'NONE' | 'BASE' | 'MERGE_SLASHES' | 'DECODE_AND_MERGE_SLASHES'

/** `query` excludes the `?`; null when the target has none. */
export type RequestTarget = { readonly path: string; readonly query: string | null }

/** Visible ASCII only. Raw bytes from 0x80 up are refused: RFC 3986 has no such target, and origins disagree about them. */
const VISIBLE = /^[\x21-\x7e]+$/
/** Paths that no mode changes: no escapes, no backslash, no empty or dot segments. */
const PLAIN = /^(?:\/[A-Za-z0-9_~!$&'()*+,;=:@-][A-Za-z0-9._~!$&'()*+,;=:@-]*)*\/?$/

/**
 * Normalises an origin-form target (or `*`). null: refuse with 400.
 * Escapes that are no escapes (`%zz`) are refused except in NONE: decoding around them would not be idempotent.
 */
export function normalizeTarget(raw: string, mode: PathNormalization): RequestTarget | null {
  if (!VISIBLE.test(raw)) return null
  // Fragments never belong on the wire; Istio removes them in every mode.
  const hash = raw.indexOf('#')
  const target = hash < 0 ? raw : raw.slice(0, hash)
  const mark = target.indexOf('?')
  const path = mark < 0 ? target : target.slice(0, mark)
  const query = mark < 0 ? null : target.slice(mark + 1)
  if (path === '*' && query === null && hash < 0) return { path, query }
  if (!path.startsWith('/')) return null
  if (mode === 'NONE' || PLAIN.test(path)) return { path, query }
  const normal = normalizePath(path, mode)
  return normal === null ? null : { path: normal, query }
}

/** BASE and up: decode (mode), unreserved escapes, backslashes, dot segments, then merge slashes (mode). */
function normalizePath(path: string, mode: Exclude<PathNormalization, 'NONE'>): string | null {
  let text = path
  if (mode === 'DECODE_AND_MERGE_SLASHES') text = text.replace(/%2f|%5c/gi, '/')
  const decoded = decodeUnreserved(text)
  if (decoded === null) return null
  const resolved = removeDotSegments(decoded.replaceAll('\\', '/'))
  return mode === 'BASE' ? resolved : resolved.replace(/\/{2,}/g, '/')
}

const HEX = /^[0-9A-Fa-f]{2}$/
const UNRESERVED = /^[A-Za-z0-9._~-]$/

/** Decodes %XX of unreserved characters only (RFC 3986 §6.2.2.2). null: a broken escape, or %00. */
function decodeUnreserved(path: string): string | null {
  if (!path.includes('%')) return path
  let out = ''
  for (let i = 0; i < path.length; i++) {
    const char = path[i] as string
    if (char !== '%') {
      out += char
      continue
    }
    const hex = path.slice(i + 1, i + 3)
    if (!HEX.test(hex)) return null
    const code = Number.parseInt(hex, 16)
    if (code === 0) return null
    const decoded = String.fromCharCode(code)
    out += UNRESERVED.test(decoded) ? decoded : path.slice(i, i + 3)
    i += 2
  }
  return out
}

/** RFC 3986 §5.2.4. Empty segments count as segments, as in Envoy: `/app//../admin` is `/app/admin`. */
function removeDotSegments(path: string): string {
  if (!path.includes('/.')) return path
  const out: string[] = []
  const segments = path.split('/').slice(1)
  for (const [index, segment] of segments.entries()) {
    const last = index === segments.length - 1
    if (segment === '..') {
      out.pop()
      if (last) out.push('')
    } else if (segment === '.') {
      if (last) out.push('')
    } else {
      out.push(segment)
    }
  }
  return `/${out.join('/')}`
}

/** The target as it is sent: path, and `?query` when there was one. */
export function targetText(target: RequestTarget): string {
  return target.query === null ? target.path : `${target.path}?${target.query}`
}

/**
 * Splits an absolute-form target (RFC 9112 §3.2.2) into authority and origin-form. null: not absolute-form.
 * The caller must refuse it unless the authority equals Host (contract §5).
 */
export function splitAbsoluteForm(raw: string): { readonly authority: string; readonly target: string } | null {
  const match = /^https?:\/\/([^/?#]*)([/?#].*)?$/i.exec(raw)
  if (match === null) return null
  const rest = match[2] ?? '/'
  return { authority: match[1] as string, target: rest.startsWith('/') ? rest : `/${rest}` }
}
