/** What is wrong with what http rules do besides routing (behaviour §4.5, 4.6, 4.8; Istio validation/virtualservice.go). */
import { parseAuthority } from '../../core/authority.ts'
import { grpcStatusCode } from '../../core/grpc-status.ts'
import { compileReplacement, RegexError } from '../../core/regex.ts'
import { isRetryCondition } from '../../core/retry-conditions.ts'
import type { Report } from '../resource.ts'
import { parseRetryOn } from '../retries.ts'
import { checkDuration } from './duration-check.ts'
import { type At, checkExpression } from './virtual-service-match-checks.ts'
import { type HttpRule, PREFIX } from './virtual-service-schema.ts'

/** Printable ASCII path: no query, no fragment, no spaces (what it yields goes out as written). */
const PATH = /^\/[\x21\x22\x24-\x3e\x40-\x7e]*$/
const PATH_REST = /^[\x21\x22\x24-\x3e\x40-\x7e]*$/
const PATH_AND_QUERY = /^\/[\x21\x22\x24-\x7e]*$/

export function checkRewrite(rule: HttpRule, at: At, report: Report): void {
  if (rule.rewrite === undefined) return
  const { uri = '', authority = '', uriRegexRewrite } = rule.rewrite
  if (uri === '' && authority === '' && uriRegexRewrite === undefined)
    report('SP4000', at('rewrite'), 'a rewrite needs uri, uriRegexRewrite or authority')
  if (uri !== '' && uriRegexRewrite !== undefined)
    report('SP4000', at('rewrite'), 'a rewrite has uri or uriRegexRewrite, not both')
  if (uri !== '' && !PATH.test(uri))
    report('SP4000', at('rewrite', 'uri'), `${JSON.stringify(uri)} is not a path: it begins with / and has no query`)
  if (uri.split('/').some((part) => ['.', '..'].includes(part.replaceAll(/%2e/gi, '.'))))
    report('SP4000', at('rewrite', 'uri'), 'a rewritten path may not hold dot segments')
  if (authority !== '' && parseAuthority(authority) === null)
    report('SP4000', at('rewrite', 'authority'), `${JSON.stringify(authority)} is not a host[:port]`)
  const setsHost = Object.keys(rule.headers?.request?.set ?? {}).find((name) => /^(?:host|:authority)$/i.test(name))
  if (authority !== '' && setsHost !== undefined)
    report('SP4000', at('headers', 'request', 'set', setsHost), 'rewrite.authority has set the authority already')
  if (uriRegexRewrite !== undefined) checkRegexRewrite(uriRegexRewrite, at, report)
}

function checkRegexRewrite(
  { match = '', rewrite = '' }: NonNullable<NonNullable<HttpRule['rewrite']>['uriRegexRewrite']>,
  at: At,
  report: Report,
): void {
  const place: At = (...path) => at('rewrite', 'uriRegexRewrite', ...path)
  if (match === '' || rewrite === '') {
    report('SP4000', place(), 'uriRegexRewrite needs both match and rewrite')
    return
  }
  try {
    compileReplacement(match, rewrite)
  } catch (error) {
    if (!(error instanceof RegexError)) throw error
    report('SP4023', place(), `${JSON.stringify(match)} → ${JSON.stringify(rewrite)}: ${error.message}`)
  }
  if (!PATH_REST.test(rewrite))
    report('SP4000', place('rewrite'), 'a path holds printable ASCII only, and no query', { fix: 'percent-encode it' })
}

const REDIRECT_CODES: readonly number[] = [0, 301, 302, 303, 307, 308]

export function checkRedirect(rule: HttpRule, at: At, report: Report): void {
  const redirect = rule.redirect
  if (redirect === undefined) return
  const { uri = '', authority = '', scheme = '', port, derivePort, redirectCode = 0 } = redirect
  const rest = uri.startsWith(PREFIX) ? uri.slice(PREFIX.length) : null
  if (uri !== '' && !(rest === null ? PATH_AND_QUERY.test(uri) : rest === '' || PATH.test(rest)))
    report('SP4000', at('redirect', 'uri'), `${JSON.stringify(uri)} is not a path with or without a query`)
  if (uri.includes('%PREFIX', 1))
    report('SP4000', at('redirect', 'uri'), `${PREFIX} stands at the beginning, or nowhere`)
  if (authority !== '' && parseAuthority(authority) === null)
    report('SP4000', at('redirect', 'authority'), `${JSON.stringify(authority)} is not a host[:port]`)
  if (!['', 'http', 'https'].includes(scheme))
    report('SP4000', at('redirect', 'scheme'), `scheme is http or https, not ${JSON.stringify(scheme)}`)
  if (port !== undefined && derivePort !== undefined)
    report('SP4000', at('redirect', 'derivePort'), 'port and derivePort exclude each other')
  if (!REDIRECT_CODES.includes(redirectCode))
    report('SP4000', at('redirect', 'redirectCode'), `redirectCode ${redirectCode} is none of 301, 302, 303, 307, 308`)
  if (uri === '' && authority === '' && scheme === '' && port === undefined && derivePort === undefined)
    report('SP4000', at('redirect'), 'a redirect that changes nothing would loop')
}

/** Envoy's limits for a response body in configuration. */
const BODY_WARN_BYTES = 100 * 1024
const BODY_MAX_BYTES = 1024 * 1024

export function checkDirectResponse(rule: HttpRule, at: At, report: Report): void {
  const { string, bytes } = rule.directResponse?.body ?? {}
  if (string !== undefined && bytes !== undefined)
    report('SP4000', at('directResponse', 'body'), 'a body is either string or bytes')
  if (bytes !== undefined && !/^[A-Za-z0-9+/]*={0,2}$/.test(bytes))
    report('SP4000', at('directResponse', 'body', 'bytes'), 'not base64')
  const size = Buffer.byteLength(string ?? '') + Math.ceil(((bytes?.length ?? 0) * 3) / 4)
  if (size <= BODY_WARN_BYTES) return
  const severity = size > BODY_MAX_BYTES ? 'error' : 'warning'
  report('SP4000', at('directResponse', 'body'), `a body of ${size} bytes; at most 1 MB, better 100 kB`, { severity })
}

export function checkRetries(rule: HttpRule, at: At, report: Report): void {
  if (rule.retries === undefined) return
  const { attempts = 0, retryOn = '', perTryTimeout, backoff, retryRemoteLocalities } = rule.retries
  if (attempts === 0 && (perTryTimeout !== undefined || retryOn !== '' || retryRemoteLocalities !== undefined))
    report('SP4000', at('retries'), 'attempts is 0, which turns retries off: the rest says otherwise', {
      fix: 'add attempts: 2',
    })
  if (retryOn.split(',').length > 1 && retryOn.split(',').some((token) => token.trim() === ''))
    report('SP4048', at('retries', 'retryOn'), 'an empty condition between commas')
  for (const name of parseRetryOn(retryOn).on)
    if (!isRetryCondition(name))
      report('SP4048', at('retries', 'retryOn'), `${JSON.stringify(name)} is no condition for retries`)
  const wrong = (path: readonly (string | number)[], message: string) =>
    report('SP4000', at('retries', ...path), message)
  // 0 says "no limit of its own", as the field's absence does.
  if (perTryTimeout !== 0) checkDuration(perTryTimeout, ['perTryTimeout'], wrong)
  checkDuration(backoff, ['backoff'], wrong)
}

export function checkFault(rule: HttpRule, at: At, report: Report): void {
  if (rule.fault === undefined) return
  const { delay, abort } = rule.fault
  if (delay === undefined && abort === undefined) report('SP4000', at('fault'), 'a fault needs delay, abort or both')
  if (rule.redirect !== undefined || rule.directResponse !== undefined)
    report('SP4000', at('fault'), 'a rule that redirects or answers itself has no fault (Istio refuses this)')
  if (delay !== undefined) {
    const place: At = (...path) => at('fault', 'delay', ...path)
    if (delay.exponentialDelay !== undefined)
      report('SP4000', place('exponentialDelay'), 'exponentialDelay is not supported, by Istio neither', {
        fix: 'use fixedDelay',
      })
    else if (delay.fixedDelay === undefined) report('SP4000', place(), 'a delay needs fixedDelay')
    checkDuration(delay.fixedDelay, ['fixedDelay'], (path, message) => report('SP4000', place(...path), message))
    if (delay.percent !== undefined)
      report('SP7023', place('percent'), 'percent is deprecated', { fix: 'percentage: { value: … }' })
    checkShare(delay.percentage?.value, place, report)
    if (delay.percentage === undefined && delay.percent === undefined) tellZero(place, 'delayed', report)
  }
  if (abort === undefined) return
  const place: At = (...path) => at('fault', 'abort', ...path)
  const { httpStatus, grpcStatus, http2Error, percentage } = abort
  if (http2Error !== undefined)
    report('SP4000', place('http2Error'), 'http2Error is not supported, by Istio neither', { fix: 'use httpStatus' })
  // Without either Istio aborts nothing: what was meant to block would be open.
  else if ((httpStatus === undefined) === (grpcStatus === undefined))
    report('SP4000', place(), 'an abort needs httpStatus or grpcStatus')
  if (grpcStatus !== undefined && grpcStatusCode(grpcStatus) === null)
    report('SP4000', place('grpcStatus'), `${JSON.stringify(grpcStatus)} is no gRPC status`, {
      fix: 'e.g. UNAVAILABLE',
    })
  checkShare(percentage?.value, place, report)
  if (percentage === undefined) tellZero(place, 'aborted', report)
}

/** Envoy counts in millionths: less than one of them is none. */
function checkShare(value: number | undefined, at: At, report: Report): void {
  if (value !== undefined && value > 0 && value < 0.0001)
    report('SP4000', at('percentage', 'value'), `${value} percent is less than the smallest share, 0.0001`)
}

function tellZero(at: At, what: string, report: Report): void {
  report('SP4011', at(), `without a percentage no request is ${what}, as in Istio`, {
    fix: 'percentage: { value: 100 }',
  })
}

export function checkMirrors(rule: HttpRule, at: At, report: Report): void {
  const { mirror, mirrors, mirrorPercent } = rule
  if (mirror !== undefined && mirrors !== undefined && mirrors.length > 0)
    report('SP4000', at('mirrors'), 'a rule has mirror or mirrors, not both')
  if (mirrorPercent !== undefined)
    report('SP7023', at('mirrorPercent'), 'mirrorPercent is deprecated', { fix: 'mirrorPercentage: { value: … }' })
  // In a delegate the mirror may be the root's.
  for (const field of ['mirrorPercent', 'mirrorPercentage'] as const)
    if (rule[field] !== undefined && mirror === undefined && rule.delegate === undefined && rule.route !== undefined)
      report('SP4011', at(field), `${field} belongs to mirror, which is not there`)
}

const METHODS: readonly string[] = ['CONNECT', 'DELETE', 'GET', 'HEAD', 'OPTIONS', 'PATCH', 'POST', 'PUT', 'TRACE', '*']
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/

export function checkCors(rule: HttpRule, at: At, report: Report): void {
  const cors = rule.corsPolicy
  if (cors === undefined) return
  const place: At = (...path) => at('corsPolicy', ...path)
  for (const [index, { exact, prefix, regex }] of (cors.allowOrigins ?? []).entries()) {
    const given = [exact, prefix, regex].filter((each) => each !== undefined)
    if (given.length !== 1 || given[0] === '')
      report('SP4000', place('allowOrigins', index), 'an origin is one of exact, prefix, regex, and not empty')
    else if (regex !== undefined) checkExpression(regex, place('allowOrigins', index), report)
  }
  if (cors.allowOrigin !== undefined)
    report('SP7023', place('allowOrigin'), 'allowOrigin is deprecated', { fix: 'allowOrigins: [{ exact: … }]' })
  for (const [index, method] of (cors.allowMethods ?? []).entries())
    if (!METHODS.includes(method))
      report('SP4000', place('allowMethods', index), `${JSON.stringify(method)} is not a method`)
  for (const field of ['allowHeaders', 'exposeHeaders'] as const)
    for (const [index, name] of (cors[field] ?? []).entries())
      if (!TOKEN.test(name)) report('SP4000', place(field, index), `${JSON.stringify(name)} is not a header name`)
  const { maxAge } = cors
  if (maxAge !== undefined && (maxAge < 1 || maxAge % 1000 !== 0))
    report('SP4000', place('maxAge'), 'maxAge is in whole seconds')
}
