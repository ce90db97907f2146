/**
 * `headers` of VirtualService rules and destinations → HeaderEdits (behaviour §4.5). Names that would change what a
 * message means are refused at load (`checkHeaders`); `lowerHeaders` leaves them out, so that nothing slips through
 * should the two ever differ.
 */
import type { SourceRef } from '../core/attributes.ts'
import { parseAuthority } from '../core/authority.ts'
import { HeaderValueError, parseHeaderValue } from '../core/header-operators.ts'
import { isFieldValue, isHopByHop } from '../core/headers.ts'
import type { HeaderEdit, HeaderEdits, HeaderValue } from '../model/route.ts'
import type { HeaderOperations, HeadersSpec } from './kinds/virtual-service-schema.ts'
import type { Report } from './resource.ts'

type At = (...path: readonly (string | number)[]) => SourceRef
type Direction = 'request' | 'response'

/** RFC 9110 §5.6.2, lower case. */
const TOKEN = /^[!#$%&'*+.^_`|~0-9a-z-]+$/
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
        else checkOperators(written, value, direction, place, report)
        const name = fieldName(written)
        if (seen.has(name)) report('SP4024', place, `${name} stands twice here, in different spellings`)
        seen.add(name)
      }
    }
    operations.remove?.forEach((written, index) => {
      const problem = nameProblem(written, 'remove', direction)
      if (problem !== null)
        report('SP4024', at(direction, 'remove', index), `remove ${JSON.stringify(written)}: ${problem}`)
    })
  }
}

/** Operators that Envoy does not know make it refuse the whole route; those we have no data for are refused as well. */
function checkOperators(written: string, value: string, direction: Direction, at: SourceRef, report: Report): void {
  try {
    const parsed = parseHeaderValue(value, direction)
    if (fieldName(written) !== 'host') return
    const problem =
      typeof parsed !== 'string'
        ? 'an authority cannot be computed from command operators'
        : parseAuthority(parsed) === null
          ? `${JSON.stringify(value)} is not a host[:port]`
          : null
    if (problem !== null) report('SP4024', at, `set ${JSON.stringify(written)}: ${problem}`)
  } catch (error) {
    if (!(error instanceof HeaderValueError)) throw error
    report('SP4044', at, `the value of ${JSON.stringify(written)}: ${error.message}`)
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
    const list: (readonly [string, HeaderValue])[] = []
    for (const [written, value] of Object.entries(operations?.[kind] ?? {})) {
      if (nameProblem(written, kind, direction) !== null || valueProblem(written, value) !== null) continue
      const name = fieldName(written)
      const parsed = headerValue(value, direction)
      const text = name === 'host' && typeof parsed === 'string' ? (parseAuthority(parsed)?.text ?? null) : parsed
      if (name === 'host' && typeof text !== 'string') continue
      // Envoy sets nothing where there is nothing to say; the caller's own value must not stand there instead.
      if (text === null || text === '') {
        if (kind === 'set') remove.push(name)
      } else list.push([name, typeof text === 'string' ? text.trim() : text])
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
  if (!isFieldValue(value)) return `the value of ${written} holds characters that no header may have`
  return null
}

/** null: refused by the check. */
function headerValue(text: string, direction: Direction): HeaderValue | null {
  try {
    return parseHeaderValue(text, direction)
  } catch (error) {
    if (error instanceof HeaderValueError) return null
    throw error
  }
}
