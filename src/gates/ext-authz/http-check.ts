/**
 * Asks an `envoyExtAuthzHttp` provider, as Envoy's ext_authz filter does (ext_authz_http_impl.cc): the request's own method,
 * path and Host with a few of its fields; 200 lets it through, 5xx is a failure, everything else refuses with that answer.
 */
import { type HeaderList, headerValue } from '../../core/attributes.ts'
import { isHopByHop } from '../../core/headers.ts'
import { compilePatterns, type StringMatcher } from '../../core/pattern.ts'
import { targetText } from '../../core/request-target.ts'
import type { ExtAuthzHttpProvider } from '../../model/extension-providers.ts'
import type { Answer, CallRequest } from './call.ts'
import { isChangeable } from './header-changes.ts'
import { checkedFields, PARTIAL_BODY, type Question } from './question.ts'
import { failed, type HeaderChange, type Verdict } from './verdict.ts'

/** One authorizer's side of the protocol. `request` is null for what it cannot be asked about (tunnels). */
export type Check = {
  request(question: Question): CallRequest | null
  verdict(answer: Answer): Verdict
}

/** Of an authorizer's answer, never passed on: framing, and what only we say. */
const NOT_PASSED: ReadonlySet<string> = new Set([
  'content-length',
  'host',
  'server',
  'date',
  'via',
  'x-sallyport-reason',
  'x-envoy-upstream-service-time',
])
const HEADERS_TO_REMOVE = 'x-envoy-auth-headers-to-remove'
/** Envoy adds these to a `headersToDownstreamOnDeny` that is not empty. */
const ALWAYS_ON_DENY = ['location', 'www-authenticate', 'content-type']

/** Everything that depends on the provider alone is compiled here, once. */
export function createHttpCheck(provider: ExtAuthzHttpProvider): Check {
  const included = compilePatterns(['authorization', ...provider.headersInCheck])
  const additional = provider.additionalHeadersInCheck.flat()
  const replaced = new Set(provider.additionalHeadersInCheck.map(([name]) => name))
  const upstream = compilePatterns(provider.headersToUpstreamOnAllow)
  const onAllow = compilePatterns(provider.headersToDownstreamOnAllow)
  const onDeny: StringMatcher =
    provider.headersToDownstreamOnDeny.length === 0
      ? () => true
      : compilePatterns([...ALWAYS_ON_DENY, ...provider.headersToDownstreamOnDeny])
  return {
    request: (question) => {
      const { http } = question.attributes
      if (http === null) return null
      const headers = ['host', http.authority.text]
      const fields = checkedFields(question, http)
      for (let i = 0; i < fields.length; i += 2) {
        const name = fields[i] as string
        if (included(name) && !replaced.has(name)) headers.push(name, fields[i + 1] as string)
      }
      headers.push(...additional)
      const { body } = question
      // Envoy says that there is none, whatever the method.
      if (body === null) headers.push('content-length', '0')
      else headers.push(PARTIAL_BODY, String(!body.whole))
      return {
        method: http.method,
        target: provider.pathPrefix + targetText(http),
        headers,
        body: body === null ? null : body.bytes,
        connection: question.connection,
      }
    },
    verdict: ({ status, headers, body }) => {
      if (status >= 500) return failed(`it answered ${status}`)
      if (status !== 200)
        return { kind: 'denied', status, headers: chosen(headers, onDeny), body: body.toString('utf8') }
      return {
        kind: 'allowed',
        changes: changes(headers, upstream),
        remove: (headerValue(headers, HEADERS_TO_REMOVE) ?? '')
          .split(',')
          .map((name) => name.trim().toLowerCase())
          .filter((name) => name !== ''),
        response: chosen(headers, onAllow),
      }
    },
  }
}

function chosen(headers: HeaderList, matches: StringMatcher): string[] {
  const out: string[] = []
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string
    if (matches(name) && !NOT_PASSED.has(name) && !isHopByHop(name)) out.push(name, headers[i + 1] as string)
  }
  return out
}

function changes(headers: HeaderList, matches: StringMatcher): HeaderChange[] {
  const out: HeaderChange[] = []
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string
    if (matches(name) && isChangeable(name)) out.push({ name, value: headers[i + 1] as string, how: 'set' })
  }
  return out
}
