/**
 * `envoyExtAuthzHttp` and `envoyExtAuthzGrpc` of `meshConfig.extensionProviders`: what Istio's validation asks of them
 * (istio pkg/config/validation/extensionprovider.go), and where we are stricter.
 */
import { z } from 'zod'
import type { CheckedBody, ExtAuthzGrpcProvider, ExtAuthzHttpProvider } from '../model/extension-providers.ts'
import { type ProviderPlace, providerService } from './provider-service.ts'
import { bool, duration, int, nonEmpty, port, stringMap, text } from './schema.ts'

/**
 * For a check without `timeout`. Istio's is 600 s, in which a stuck authorizer keeps every caller's connection waiting; a
 * refusal after ten seconds can be seen and mended.
 */
const DEFAULT_TIMEOUT_MS = 10_000

/** Node's timers hold 31 bits of milliseconds; a longer one would fire at once. */
const MAX_TIMER_MS = 2 ** 31 - 1

/** A body is kept in memory until the authorizer has answered. */
const MAX_BODY_BYTES = 16 * 1024 * 1024

const timeout = duration
  .refine((ms) => ms >= 1, 'must be at least 1ms')
  .refine((ms) => ms <= MAX_TIMER_MS, 'must be at most 596h (24.8 days)')

const requestBody = z.object({
  maxRequestBytes: int(1, MAX_BODY_BYTES),
  allowPartialMessage: bool.default(false),
  packAsBytes: bool.default(false),
})

const COMMON = {
  service: nonEmpty,
  port,
  timeout: timeout.optional(),
  failOpen: bool.default(false),
  clearRouteCache: bool.optional(),
  /** Istio has text here. */
  statusOnError: int(200, 599).default(403),
  includeRequestBodyInCheck: requestBody.optional(),
}

/** `abc`, `abc*`, `*abc`: Istio's "exact, prefix and suffix matches". A lone star is none. */
const headerPattern = text.regex(
  /^(\*?[A-Za-z0-9!#$%&'+.^_`|~-]+|[A-Za-z0-9!#$%&'+.^_`|~-]+\*)$/,
  'must be a header name, or one with * at its beginning or end',
)
const headerPatterns = z.array(headerPattern).default([])

export const EXT_AUTHZ_HTTP = z.object({
  ...COMMON,
  pathPrefix: text.default(''),
  /** Deprecated; exact names only. */
  includeHeadersInCheck: headerPatterns,
  includeRequestHeadersInCheck: headerPatterns,
  includeAdditionalHeadersInCheck: stringMap.default({}),
  headersToUpstreamOnAllow: headerPatterns,
  headersToDownstreamOnDeny: headerPatterns,
  headersToDownstreamOnAllow: headerPatterns,
})

export const EXT_AUTHZ_GRPC = z.object(COMMON)

type Common = z.output<typeof EXT_AUTHZ_GRPC>

export function lowerExtAuthzHttp(
  spec: z.output<typeof EXT_AUTHZ_HTTP>,
  place: ProviderPlace,
): ExtAuthzHttpProvider | null {
  const common = lowerCommon(spec, place)
  if (!/^(\/[\x21\x22\x24-\x3e\x40-\x7e]*)?$/.test(spec.pathPrefix)) {
    const message = `pathPrefix ${JSON.stringify(spec.pathPrefix)} is no path: it begins with / and has no query, fragment or space`
    place.report('SP8301', place.at('pathPrefix'), message)
  }
  if (common === null) return null
  const lower = (names: readonly string[]) => names.map((name) => name.toLowerCase())
  return {
    ...common,
    type: 'envoyExtAuthzHttp',
    pathPrefix: spec.pathPrefix,
    headersInCheck: lower([...spec.includeHeadersInCheck, ...spec.includeRequestHeadersInCheck]),
    additionalHeadersInCheck: additionalHeaders(spec.includeAdditionalHeadersInCheck, place),
    headersToUpstreamOnAllow: lower(spec.headersToUpstreamOnAllow),
    headersToDownstreamOnDeny: lower(spec.headersToDownstreamOnDeny),
    headersToDownstreamOnAllow: lower(spec.headersToDownstreamOnAllow),
  }
}

export function lowerExtAuthzGrpc(spec: Common, place: ProviderPlace): ExtAuthzGrpcProvider | null {
  const common = lowerCommon(spec, place)
  return common === null ? null : { ...common, type: 'envoyExtAuthzGrpc' }
}

function lowerCommon(spec: Common, place: ProviderPlace): Omit<ExtAuthzGrpcProvider, 'type'> | null {
  const service = providerService(spec.service, spec.port, place)
  if (spec.clearRouteCache === false)
    place.report(
      'SP8304',
      place.at('clearRouteCache'),
      'a route is always chosen by what is sent, as with clearRouteCache: true',
    )
  if (service === null) return null
  return {
    ...place.head,
    service,
    timeoutMs: spec.timeout ?? DEFAULT_TIMEOUT_MS,
    failOpen: spec.failOpen,
    statusOnError: spec.statusOnError,
    body: spec.includeRequestBodyInCheck === undefined ? null : checkedBody(spec.includeRequestBodyInCheck),
  }
}

function checkedBody(spec: z.output<typeof requestBody>): CheckedBody {
  return {
    maxBytes: spec.maxRequestBytes,
    allowPartial: spec.allowPartialMessage,
    packAsBytes: spec.packAsBytes,
  }
}

function additionalHeaders(fields: Readonly<Record<string, string>>, place: ProviderPlace): [string, string][] {
  const pairs: [string, string][] = []
  for (const [name, value] of Object.entries(fields)) {
    const at = place.at('includeAdditionalHeadersInCheck', name)
    const lower = name.toLowerCase()
    if (!/^[a-z0-9!#$%&'*+.^_`|~-]+$/.test(lower) || FRAMING.has(lower))
      place.report('SP8301', at, `${JSON.stringify(name)} is no header that a check can be given`)
    if (!/^[\x20-\x7e]*$/.test(value)) place.report('SP8301', at, `the value of ${name} holds other than ASCII`)
    pairs.push([lower, value])
  }
  return pairs
}

/** What delimits the check itself, or says where it goes. */
const FRAMING: ReadonlySet<string> = new Set([
  'host',
  'content-length',
  'transfer-encoding',
  'connection',
  'upgrade',
  'te',
  'trailer',
  'keep-alive',
  'expect',
])
