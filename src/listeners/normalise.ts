/**
 * First step of the order of judgement: a request becomes HttpAttributes, or a refusal. Ambiguity is refused here and
 * nowhere repaired (threats 1–5, 11–13, 18, 20–23); policy, routing and the wire see only what this returns.
 */
import { type HeaderList, type HttpAttributes, headerValue, headerValues } from '../core/attributes.ts'
import { parseAuthority } from '../core/authority.ts'
import { connectionNominations, fieldsAreCarriable, hasPassedThrough, joinCookies } from '../core/headers.ts'
import type { Refusal } from '../core/refusal.ts'
import { normalizeTarget, splitAbsoluteForm } from '../core/request-target.ts'
import { CHANGE_FIELDS } from '../core/upgrade.ts'
import type { Settings } from '../model/settings.ts'
import type { Downstream } from './downstream.ts'

export type Normalised = {
  readonly http: HttpAttributes
  readonly nominated: ReadonlySet<string>
  /** It asks to change to WebSocket, and may ask. */
  readonly upgrade: boolean
}

/** RFC 9110 §9.1: method names are tokens; every registered one is upper-case letters and hyphens. */
const METHOD = /^[A-Z]+(?:-[A-Z]+)*$/

/**
 * @param sni of the connection, compared with Host on SIMPLE servers only (contract §4, Names); null: not to be compared
 * @param instance what this process calls itself in `via`; null: loops are not looked for
 */
export function normaliseRequest(
  downstream: Downstream,
  scheme: 'http' | 'https',
  settings: Settings,
  sni: string | null,
  instance: string | null,
): Normalised | Refusal {
  if (downstream.protocol === 'HTTP/1.0') return { kind: 'http10' }
  const { method, headers } = downstream
  if (!METHOD.test(method)) return { kind: 'bad_request', details: 'invalid_method' }
  if (method === 'TRACE' || method === 'TRACK') return { kind: 'method_refused' }
  if (method === 'CONNECT') return { kind: 'connect_refused' }
  if (headers.length / 2 > settings.http.maxHeaders)
    return { kind: 'headers_too_large', details: 'request_headers_too_large' }
  if (downstream.strict ? headerValue(headers, '__proto__') !== null : !fieldsAreCarriable(headers))
    return { kind: 'bad_headers' }
  const framing = checkFraming(headers)
  if (framing !== null) return framing
  if (downstream.expectsOther) return { kind: 'expectation_failed' }
  const nominated = connectionNominations(headers)
  if (nominated === null) return { kind: 'bad_headers', details: 'connection_header_rejected' }
  if (instance !== null && hasPassedThrough(headers, instance))
    return { kind: 'address_denied', details: 'address_denied{loop}' }
  const upgrade = nominated.has('upgrade') && headerValue(headers, 'upgrade') !== null
  const refused = upgrade ? checkUpgrade(downstream) : null
  return refused ?? readTarget(downstream, scheme, settings, sni, nominated, upgrade)
}

/**
 * Routes allow WebSocket and nothing else, as Istio's do (behaviour §10.5). A body would stand where the other protocol's
 * bytes begin: two readers could disagree about which is which.
 */
function checkUpgrade({ method, headers, upgrade }: Downstream): Refusal | null {
  const protocols = headerValues(headers, 'upgrade')
  if (protocols.length > 1 || protocols[0]?.toLowerCase() !== 'websocket') return { kind: 'upgrade_refused' }
  const hasBody =
    headerValue(headers, 'transfer-encoding') !== null || (headerValue(headers, 'content-length') ?? '0') !== '0'
  if (method !== 'GET' || hasBody) return { kind: 'bad_request', details: 'http1.upgrade_with_body' }
  // Sent ahead, behind requests that are not answered yet: nobody can know whether it will come to that.
  return upgrade === null ? { kind: 'bad_request', details: 'http1.upgrade_pipelined' } : null
}

/** With zeros in front some would take it for octal. */
const LENGTH = /^(?:0|[1-9]\d{0,14})$/

/** One framing, of the two kinds there are. Node's parser refuses most of this; what it lets pass is refused here. */
function checkFraming(headers: readonly string[]): Refusal | null {
  let lengths = 0
  let codings = 0
  for (let i = 0; i < headers.length; i += 2) {
    const value = headers[i + 1] as string
    if (headers[i] === 'content-length') {
      lengths += 1
      if (!LENGTH.test(value)) return { kind: 'bad_request', details: 'http1.invalid_content_length' }
    } else if (headers[i] === 'transfer-encoding') {
      codings += 1
      if (value.toLowerCase() !== 'chunked') return { kind: 'bad_request', details: 'http1.invalid_transfer_encoding' }
    }
  }
  if (lengths > 1 || codings > 1) return { kind: 'bad_request', details: 'http1.codec_error' }
  if (lengths + codings > 1) return { kind: 'bad_request', details: 'http1.content_length_and_chunked_not_allowed' }
  return null
}

function readTarget(
  downstream: Downstream,
  scheme: 'http' | 'https',
  settings: Settings,
  sni: string | null,
  nominated: ReadonlySet<string>,
  upgrade: boolean,
): Normalised | Refusal {
  const { method, headers, authorities } = downstream
  const [first] = authorities
  if (first === undefined || first === '') return { kind: 'missing_host' }
  const authority = parseAuthority(first)
  if (authority === null) return { kind: 'bad_authority' }
  if (authorities.length > 1) {
    // HTTP/1.1: one Host, even if the second says the same. HTTP/2: `host` beside `:authority` only if it agrees.
    const agrees =
      downstream.protocol === 'HTTP/2' && authorities.every((text) => parseAuthority(text)?.text === authority.text)
    if (!agrees || authorities.length > 2) return { kind: 'bad_authority', details: 'conflicting_authorities' }
  }
  let raw = downstream.target
  if (downstream.protocol === 'HTTP/1.1') {
    const absolute = splitAbsoluteForm(raw)
    if (absolute !== null) {
      if (parseAuthority(absolute.authority)?.text !== authority.text) return { kind: 'absolute_form' }
      raw = absolute.target
    }
  }
  const target = normalizeTarget(raw, settings.mesh.pathNormalization)
  if (target === null || (target.path === '*' && method !== 'OPTIONS')) return { kind: 'bad_path' }
  if (sni !== null && sni !== authority.host) return { kind: 'misdirected' }
  const judged = upgrade ? judgedUpgrade(headers, nominated) : judgedHeaders(headers, nominated)
  return {
    http: { method, path: target.path, query: target.query, scheme, authority, headers: judged },
    nominated,
    upgrade,
  }
}

/**
 * The fields as they will be sent, for policy and routing to see: without those that `Connection` takes away (a rule that
 * wants a field must not be satisfied by one that never leaves), and with one `cookie`, in which form alone it leaves
 * (RFC 9113 §8.2.3; Envoy joins it before its filters too). Usually the list as it is.
 */
function judgedHeaders(headers: HeaderList, nominated: ReadonlySet<string>): HeaderList {
  let cookies = 0
  for (let i = 0; i < headers.length; i += 2) if (headers[i] === 'cookie') cookies += 1
  if (cookies < 2 && nominated.size === 0) return headers
  const judged: string[] = []
  let cookie = -1
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string
    if (nominated.has(name)) continue
    if (name === 'cookie' && cookie >= 0)
      judged[cookie] = joinCookies(judged[cookie] as string, headers[i + 1] as string)
    else judged.push(name, headers[i + 1] as string)
    if (name === 'cookie' && cookie < 0) cookie = judged.length - 1
  }
  return judged
}

/** What asks for the change leaves in one form, which rules and routes can match (`upgrade: websocket`). */
function judgedUpgrade(headers: HeaderList, nominated: ReadonlySet<string>): HeaderList {
  const judged: string[] = []
  const others = judgedHeaders(headers, nominated)
  for (let i = 0; i < others.length; i += 2)
    if (others[i] !== 'connection' && others[i] !== 'content-length')
      judged.push(others[i] as string, others[i + 1] as string)
  judged.push(...CHANGE_FIELDS)
  return judged
}
