/**
 * `headers` of VirtualService rules and destinations → HeaderEdits (behaviour §4.5). Names that would change what a
 * message means are refused at load (`checkHeaders`); `lowerHeaders` leaves them out, so that nothing slips through
 * should the two ever differ.
 */
import type { SourceRef } from '../core/attributes.ts'
import { parseAuthority } from '../core/authority.ts'
import { isHopByHop } from '../core/headers.ts'
import type { HeaderEdit, HeaderEdits } from '../model/route.ts'
import type { HeaderOperations, HeadersSpec } from './kinds/virtual-service-schema.ts'
import type { Report } from './resource.ts'

type At = (...path: readonly (string | number)[]) => SourceRef
type Direction = 'request' | 'response'

/** RFC 9110 §5.6.2, lower case. */
const TOKEN = /^[!#$%&'*+.^_`|~0-9a-z-]+$/
/** RFC 9110 §5.5: no control characters but tab; outside Latin-1 a field value has no bytes. */
const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/
/** Framing and routing of the message itself. */
const FRAMING: ReadonlySet<string> = new Set(['content-length', 'transfer-encoding', 'host', '__proto__'])

/** Reports every edit that is refused or changed. `at` positions are below the `headers` block. */
export function checkHeaders(spec: HeadersSpec | undefined, at: At, report: Report): void {
  for (const direction of ['request', 'response'] as const) {
    const operations = spec?.[direction]
    if (operations === undefined) continue
    for (const kind of ['set', 'add'] as const) {
      const seen = new Set<string>()
      for (const [written, value] of Object.entries(operations[kind] ?? {})) {
        const place = at(direction, kind, written)
        const problem = nameProblem(written, kind, direction) ?? valueProblem(written, value)
        if (problem !== null) report('SP4024', place, `${kind} ${JSON.stringify(written)}: ${problem}`)
        const name = fieldName(written)
        if (seen.has(name)) report('SP4024', place, `${name} stands twice here, in different spellings`)
        seen.add(name)
        if (problem === null && literal(value) === null) {
          const effect = kind === 'set' ? `${name} is removed instead` : `${name} is not added`
          report('SP4025', place, `the value ${JSON.stringify(value)} has a command operator: ${effect}`)
        }
      }
    }
    operations.remove?.forEach((written, index) => {
      const problem = nameProblem(written, 'remove', direction)
      if (problem !== null)
        report('SP4024', at(direction, 'remove', index), `remove ${JSON.stringify(written)}: ${problem}`)
    })
  }
}

/** null when nothing is left to do. Maps come out sorted by name, as Istio sorts them. */
export function lowerHeaders(spec: HeadersSpec | undefined): HeaderEdits | null {
  if (spec === undefined) return null
  const request = lowerOperations(spec.request, 'request')
  const response = lowerOperations(spec.response, 'response')
  const empty = [request, response].every(({ set, add, remove }) => set.length + add.length + remove.length === 0)
  return empty ? null : { request, response }
}

function lowerOperations(operations: HeaderOperations | undefined, direction: Direction): HeaderEdit {
  const remove: string[] = []
  const pairs = (kind: 'set' | 'add') => {
    const list: (readonly [string, string])[] = []
    for (const [written, value] of Object.entries(operations?.[kind] ?? {})) {
      if (nameProblem(written, kind, direction) !== null || valueProblem(written, value) !== null) continue
      const name = fieldName(written)
      const text = literal(value)
      // The caller's own value must not stand where the operator wanted another.
      if (text === null && kind === 'set') remove.push(name)
      if (text !== null) list.push([name, name === 'host' ? (parseAuthority(text)?.text ?? text) : text.trim()])
    }
    return list.toSorted(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
  }
  const set = pairs('set')
  const add = pairs('add')
  for (const name of operations?.remove ?? [])
    if (nameProblem(name, 'remove', direction) === null) remove.push(fieldName(name))
  return { set, add, remove: [...new Set(remove)].toSorted() }
}

/** `:authority` is HTTP/2's spelling of Host, and Istio takes both. */
function fieldName(written: string): string {
  const name = written.toLowerCase()
  return name === ':authority' ? 'host' : name
}

function nameProblem(written: string, kind: 'set' | 'add' | 'remove', direction: Direction): string | null {
  const name = fieldName(written)
  if (name === 'host' && kind === 'set' && direction === 'request') return null
  if (name.startsWith(':')) return 'pseudo header fields cannot be edited'
  if (FRAMING.has(name)) return `${name} is set by the gateway`
  if (!TOKEN.test(name)) return 'not a header name'
  if (isHopByHop(name)) return `${name} concerns one hop only and is never forwarded`
  if (kind !== 'remove' && (name.startsWith('x-envoy-') || name.startsWith('x-sallyport-')))
    return `${name} is reserved for gateways`
  return null
}

function valueProblem(written: string, value: string): string | null {
  if (!VALUE.test(value)) return 'the value holds characters that no header may have'
  if (fieldName(written) !== 'host') return null
  const text = literal(value)
  if (text === null) return 'an authority cannot be computed from command operators'
  return parseAuthority(text) === null ? `${JSON.stringify(value)} is not a host[:port]` : null
}

/** The value with `%%` read as `%`; null when it holds a command operator (`%NAME%`). */
function literal(value: string): string | null {
  const text = value.replaceAll('%%', '\u0000')
  return text.includes('%') ? null : text.replaceAll('\u0000', '%')
}
