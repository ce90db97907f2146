/**
 * What an operator says with `sallyport block`: nothing from this caller (to that host) until then. Reading and matching,
 * without a clock. What cannot be read is refused: a block must never cover more, or less, than was meant.
 */
import { canonicalHostPattern, hostCovers } from './host-pattern.ts'

/** Who: one SPIFFE ID, a namespace of any trust domain, or everybody, callers without identity included. */
export type BlockSource =
  | { readonly kind: 'principal'; readonly uri: string }
  | { readonly kind: 'namespace'; readonly namespace: string }
  | { readonly kind: 'all' }

export type Block = {
  /** Given by the gateway: `b-` and 12 hexadecimal digits. */
  readonly id: string
  /** As the operator wrote it, in canonical form: what `readSource` takes. */
  readonly from: string
  /** Host, `*.suffix`, or null: every host. */
  readonly to: string | null
  readonly reason: string
}

/** 90 days: a block is an emergency measure; what is meant to last is a policy. */
export const MAX_BLOCK_MS = 90 * 86_400_000
const MAX_REASON = 200

/** What is wrong with it, in words that say what to write instead. */
export class BlockError extends Error {
  override readonly name = 'BlockError'
}

const TRUST_DOMAIN = /^[a-z0-9._-]{1,255}$/
const SEGMENT = /^[A-Za-z0-9._-]{1,255}$/
const NAMESPACE = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/

/** `spiffe://TD/PATH`, Istio's `TD/PATH`, `ns/NAMESPACE` or `*`. @throws BlockError */
export function readSource(text: string): BlockSource {
  if (text === '*') return { kind: 'all' }
  if (text.startsWith('ns/')) {
    const namespace = text.slice(3)
    if (!NAMESPACE.test(namespace)) throw new BlockError(`from: ${JSON.stringify(text)} is not ns/NAMESPACE`)
    return { kind: 'namespace', namespace }
  }
  const [trustDomain = '', ...path] = (text.startsWith('spiffe://') ? text.slice(9) : text).split('/')
  const whole = TRUST_DOMAIN.test(trustDomain) && path.length > 0 && path.every((segment) => SEGMENT.test(segment))
  if (!whole || path.some((segment) => segment === '.' || segment === '..'))
    throw new BlockError(
      `from: ${JSON.stringify(text)} is none of spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT, ns/NAMESPACE, *`,
    )
  return { kind: 'principal', uri: `spiffe://${trustDomain}/${path.join('/')}` }
}

/** A source in the one way it is kept and shown. */
function sourceText(source: BlockSource): string {
  if (source.kind === 'all') return '*'
  return source.kind === 'namespace' ? `ns/${source.namespace}` : source.uri
}

/** @throws BlockError */
function readTarget(text: string): string | null {
  const pattern = canonicalHostPattern(text)
  if (pattern === null)
    throw new BlockError(
      `to: ${JSON.stringify(text)} is no host (without port) and no *.suffix; leave it out for every host`,
    )
  return pattern === '*' ? null : pattern
}

/** A block from what an operator wrote. @throws BlockError */
export function readBlock(
  id: string,
  written: { readonly from: string; readonly to: string | null; readonly reason: string },
): Block {
  const { from, to, reason } = written
  if (!/^b-[0-9a-f]{12}$/.test(id)) throw new BlockError(`${JSON.stringify(id)} is no block's id`)
  // It goes into logs and terminals: one printable line.
  if (reason.length === 0 || reason.length > MAX_REASON || !/^[\x20-\x7e\u00a0-\u{10ffff}]+$/u.test(reason))
    throw new BlockError(`reason: say why, in one line of at most ${MAX_REASON} characters`)
  return { id, from: sourceText(readSource(from)), to: to === null ? null : readTarget(to), reason }
}

/** True when it names the host (canonical, without port), or every host. */
export function coversHost({ to }: Block, host: string): boolean {
  return to === null || hostCovers(to, host)
}
