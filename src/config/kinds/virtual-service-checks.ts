/** What is wrong with a VirtualService by itself (behaviour §4.8; Istio pkg/config/validation/virtualservice.go). */
import type { SourceRef } from '../../core/attributes.ts'
import { parseAuthority } from '../../core/authority.ts'
import { canonicalHostPattern, hostCovers } from '../../core/host-pattern.ts'
import { checkRegex } from '../../core/regex.ts'
import { checkHeaders } from '../header-edits.ts'
import type { Report, Resource } from '../resource.ts'
import { exportProblem } from '../visibility.ts'
import { checkL4Rules } from './virtual-service-l4-checks.ts'
import type { HttpMatch, HttpRule, StringMatchSpec, VirtualServiceSpec } from './virtual-service-schema.ts'

type At = (...path: readonly (string | number)[]) => SourceRef

/** Envoy's limits for a response body in configuration. */
const BODY_WARN_BYTES = 100 * 1024
const BODY_MAX_BYTES = 1024 * 1024

export function checkVirtualService(resource: Resource<VirtualServiceSpec>, report: Report): void {
  const { spec, at } = resource
  const { http = [], tls = [], tcp = [], hosts = [] } = spec
  if (http.length + tls.length + tcp.length === 0)
    report('SP4000', at('spec'), 'a VirtualService needs at least one http, tls or tcp rule')
  const problem = spec.exportTo === undefined ? null : exportProblem(spec.exportTo)
  if (problem !== null) report('SP4000', at('spec', 'exportTo'), `exportTo: ${problem}`)
  // Without hosts it is the target of a delegation: nothing is bound to it by itself.
  checkHosts(hosts, (index) => at('spec', 'hosts', index), report)
  let all: number | null = null
  http.forEach((rule, index) => {
    const below: At = (...path) => at('spec', 'http', index, ...path)
    if (all !== null) report('SP4022', below(), `rule ${index} is never reached: rule ${all} matches every request`)
    else if (isMatchAll(rule)) all = index
    checkRule(rule, below, report)
  })
  checkL4Rules(resource, report)
}

/** No match, or one that holds whatever is asked on whatever gateway and port. */
function isMatchAll(rule: HttpRule): boolean {
  if (rule.match === undefined || rule.match.length === 0) return true
  return rule.match.some(
    (match) => isEverywhere(match) && (match.uri === undefined || match.uri.prefix === '/' || match.uri.regex === '.*'),
  )
}

function isEverywhere(match: HttpMatch): boolean {
  const { name: _name, uri: _uri, ignoreUriCase: _case, statPrefix: _stat, ...rest } = match
  return Object.values(rest).every((value) => value === undefined || (typeof value === 'object' && isEmpty(value)))
}

function isEmpty(value: object): boolean {
  return Object.keys(value).length === 0
}

function checkHosts(hosts: readonly string[], at: (index: number) => SourceRef, report: Report): void {
  const seen: string[] = []
  hosts.forEach((text, index) => {
    const host = canonicalHostPattern(text)
    if (host === null) {
      report('SP4004', at(index), `${JSON.stringify(text)} is not a host name, *.suffix or *`)
      return
    }
    const other = seen.find((each) => hostCovers(each, host) || hostCovers(host, each))
    if (other === host) report('SP4000', at(index), `host ${host} stands twice`)
    else if (other !== undefined) report('SP4029', at(index), `hosts ${other} and ${host} overlap`)
    seen.push(host)
  })
}

function checkRule(rule: HttpRule, at: At, report: Report): void {
  const actions = (['route', 'redirect', 'directResponse', 'delegate'] as const).filter(
    (action) => rule[action] !== undefined && (action !== 'route' || rule.route?.length !== 0),
  )
  if (actions.length !== 1) {
    const found = actions.length === 0 ? 'no action' : `both ${actions.join(' and ')}`
    report('SP4027', at(), `the rule has ${found}`, { fix: 'write one of route, redirect, directResponse' })
  }
  rule.match?.forEach((match, index) => checkMatch(match, (...path) => at('match', index, ...path), report))
  checkHeaders(rule.headers, (...path) => at('headers', ...path), report)
  checkDestinations(rule, at, report)
  checkRewrite(rule, at, report)
  checkRedirect(rule, at, report)
  const { string, bytes } = rule.directResponse?.body ?? {}
  if (string !== undefined && bytes !== undefined)
    report('SP4000', at('directResponse', 'body'), 'a body is either string or bytes')
  if (bytes !== undefined && !/^[A-Za-z0-9+/]*={0,2}$/.test(bytes))
    report('SP4000', at('directResponse', 'body', 'bytes'), 'not base64')
  const size = Buffer.byteLength(string ?? '') + Math.ceil(((bytes?.length ?? 0) * 3) / 4)
  if (size > BODY_WARN_BYTES) {
    const severity = size > BODY_MAX_BYTES ? 'error' : 'warning'
    report('SP4000', at('directResponse', 'body'), `a body of ${size} bytes; at most 1 MB, better 100 kB`, { severity })
  }
}

function checkDestinations(rule: HttpRule, at: At, report: Report): void {
  const routes = rule.route ?? []
  routes.forEach((route, index) => {
    checkHeaders(route.headers, (...path) => at('route', index, 'headers', ...path), report)
    const { host } = route.destination
    // As Istio: `*.suffix` means the ServiceEntry of that very name (the requested name is resolved), `*` means nothing.
    if (host.includes('*') && (host === '*' || canonicalHostPattern(host) === null))
      report(
        'SP4000',
        at('route', index, 'destination', 'host'),
        `${JSON.stringify(host)} is no destination: name one host or a *.suffix`,
      )
  })
  if (routes.length > 1 && routes.every((route) => (route.weight ?? 0) === 0))
    report('SP4000', at('route'), 'the weights add up to 0')
}

/** Printable ASCII path: no query, no fragment, no spaces (what it yields goes out as written). */
const PATH = /^\/[\x21\x22\x24-\x3e\x40-\x7e]*$/
const PATH_AND_QUERY = /^\/[\x21\x22\x24-\x7e]*$/

function checkRewrite(rule: HttpRule, at: At, report: Report): void {
  const { uri, authority } = rule.rewrite ?? {}
  if (uri !== undefined && uri !== '' && !PATH.test(uri))
    report('SP4000', at('rewrite', 'uri'), `${JSON.stringify(uri)} is not a path: it begins with / and has no query`)
  if (uri !== undefined && uri.split('/').some((part) => ['.', '..'].includes(part.replaceAll(/%2e/gi, '.'))))
    report('SP4000', at('rewrite', 'uri'), 'a rewritten path may not hold dot segments')
  if (authority !== undefined && authority !== '' && parseAuthority(authority) === null)
    report('SP4000', at('rewrite', 'authority'), `${JSON.stringify(authority)} is not a host[:port]`)
}

const REDIRECT_CODES: readonly number[] = [0, 301, 302, 303, 307, 308]

function checkRedirect(rule: HttpRule, at: At, report: Report): void {
  const redirect = rule.redirect
  if (redirect === undefined) return
  const { uri = '', authority = '', scheme = '', port, derivePort, redirectCode = 0 } = redirect
  if (uri.includes('%PREFIX()%'))
    report('SP4000', at('redirect', 'uri'), '%PREFIX()% is not built yet; write the whole path')
  else if (uri !== '' && !PATH_AND_QUERY.test(uri))
    report('SP4000', at('redirect', 'uri'), `${JSON.stringify(uri)} is not a path with or without a query`)
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

const IGNORED_HEADER_KEYS: readonly string[] = ['uri', 'scheme', 'method', 'authority']

function checkMatch(match: HttpMatch, at: At, report: Report): void {
  for (const field of ['uri', 'scheme', 'method', 'authority'] as const) {
    const value = match[field]
    if (value !== undefined) checkString(value, false, at(field), report)
  }
  const { exact, prefix } = match.authority ?? {}
  const authority = exact ?? prefix ?? ''
  if (authority !== authority.toLowerCase())
    report('SP4030', at('authority'), `authorities are compared in lower case; ${authority} never matches`, {
      fix: `write ${authority.toLowerCase()}`,
    })
  for (const field of ['headers', 'withoutHeaders', 'queryParams'] as const) {
    for (const [name, value] of Object.entries(match[field] ?? {})) {
      checkString(value ?? {}, true, at(field, name), report)
      if (field === 'queryParams') continue
      if (IGNORED_HEADER_KEYS.includes(name))
        report('SP4011', at(field, name), `a header match on "${name}" is ignored, as in Istio; use the field ${name}`)
      else if (!/^:?[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name))
        report('SP4000', at(field, name), `${JSON.stringify(name)} is not a header name`)
    }
  }
}

function checkString(match: StringMatchSpec, mayBePresence: boolean, at: SourceRef, report: Report): void {
  const given = (['exact', 'prefix', 'regex'] as const).filter((kind) => match[kind] !== undefined)
  if (given.length > 1) report('SP4000', at, `one of ${given.join(', ')}, not several`)
  if (given.length === 0 && !mayBePresence) report('SP4000', at, 'one of exact, prefix, regex is needed')
  if (match.prefix === '') report('SP4000', at, 'an empty prefix matches everything; leave the match out instead')
  // Istio reads the regex `*` as presence where presence can be asked for.
  if (match.regex === undefined || (match.regex === '*' && mayBePresence)) return
  const problem = checkRegex(match.regex)
  if (problem !== null) report('SP4023', at, `regex ${JSON.stringify(match.regex)}: ${problem}`)
}
