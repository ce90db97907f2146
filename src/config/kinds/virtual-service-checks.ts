/** What is wrong with a VirtualService by itself (behaviour §4.8; Istio pkg/config/validation/virtualservice.go). */
import type { SourceRef } from '../../core/attributes.ts'
import { canonicalHostPattern, hostCovers } from '../../core/host-pattern.ts'
import { checkHeaders } from '../header-edits.ts'
import type { Report, Resource } from '../resource.ts'
import { exportProblem } from '../visibility.ts'
import { checkDuration } from './duration-check.ts'
import {
  checkCors,
  checkDirectResponse,
  checkFault,
  checkMirrors,
  checkRedirect,
  checkRetries,
  checkRewrite,
} from './virtual-service-action-checks.ts'
import { checkL4Rules, checkSubsetAndPort } from './virtual-service-l4-checks.ts'
import { type At, checkGateways, checkMatch, checkReach } from './virtual-service-match-checks.ts'
import type { HttpRule, RouteDestination, VirtualServiceSpec } from './virtual-service-schema.ts'

export function checkVirtualService(resource: Resource<VirtualServiceSpec>, report: Report): void {
  const { spec, at } = resource
  const { http = [], tls = [], tcp = [], hosts = [], gateways } = spec
  if (http.length + tls.length + tcp.length === 0)
    report('SP4000', at('spec'), 'a VirtualService needs at least one http, tls or tcp rule')
  const problem = spec.exportTo === undefined ? null : exportProblem(spec.exportTo, resource.namespace)
  if (problem !== null) report('SP4000', at('spec', 'exportTo'), `exportTo: ${problem}`)
  checkGateways(gateways, (index) => at('spec', 'gateways', index), report)
  const isDelegate = hosts.length === 0
  if (isDelegate) checkDelegate(resource, report)
  checkHosts(hosts, (index) => at('spec', 'hosts', index), report)
  const meshes = gateways === undefined || gateways.length === 0 || gateways.includes('mesh')
  if (meshes && hosts.includes('*'))
    report('SP4000', at('spec', 'hosts'), '"*" is not allowed where gateways holds mesh, or is left out', {
      fix: 'name the Gateway: gateways: [namespace/name]',
    })
  const below =
    (index: number): At =>
    (...path) =>
      at('spec', 'http', index, ...path)
  for (const [index, rule] of http.entries()) checkRule(rule, isDelegate, below(index), report)
  checkReach(http, below, report)
  checkL4Rules(resource, report)
}

/** Without hosts it is the target of a delegation: nothing is bound to it by itself. */
function checkDelegate({ spec, at }: Resource<VirtualServiceSpec>, report: Report): void {
  for (const field of ['gateways', 'tls', 'tcp'] as const)
    if ((spec[field] ?? []).length > 0)
      report('SP4000', at('spec', field), `without hosts this is a delegate, which has no ${field}`, {
        fix: `add hosts, or remove ${field}`,
      })
  for (const [index, { delegate }] of (spec.http ?? []).entries())
    if (delegate !== undefined)
      report('SP4000', at('spec', 'http', index, 'delegate'), 'a delegate cannot delegate further')
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
    else if (other !== undefined)
      report('SP4029', at(index), `hosts ${other} and ${host} overlap`, {
        fix: `leave out ${hostCovers(other, host) ? host : other}`,
      })
    seen.push(host)
  })
}

function checkRule(rule: HttpRule, isDelegate: boolean, at: At, report: Report): void {
  const actions = (['route', 'redirect', 'directResponse', 'delegate'] as const).filter(
    (action) => rule[action] !== undefined && (action !== 'route' || rule.route?.length !== 0),
  )
  if (actions.length !== 1) {
    const found = actions.length === 0 ? 'no action' : `both ${actions.join(' and ')}`
    report('SP4027', at(), `the rule has ${found}`, { fix: 'write one of route, redirect, directResponse' })
  }
  if (rule.rewrite !== undefined && (rule.redirect !== undefined || rule.directResponse !== undefined))
    report('SP4000', at('rewrite'), 'a rule that redirects or answers itself rewrites nothing (Istio refuses this)')
  const delegating = isDelegate || rule.delegate !== undefined
  for (const [index, match] of (rule.match ?? []).entries())
    checkMatch(match, delegating, (...path) => at('match', index, ...path), report)
  checkHeaders(rule.headers, (...path) => at('headers', ...path), report)
  checkDestinations(rule, at, report)
  // 0 says "none", as the field's absence does.
  if (rule.timeout !== 0)
    checkDuration(rule.timeout, ['timeout'], (path, message) => report('SP4000', at(...path), message))
  for (const check of [
    checkRewrite,
    checkRedirect,
    checkDirectResponse,
    checkRetries,
    checkFault,
    checkMirrors,
    checkCors,
  ])
    check(rule, at, report)
}

function checkDestinations(rule: HttpRule, at: At, report: Report): void {
  const routes = rule.route ?? []
  for (const [index, route] of routes.entries()) {
    checkHeaders(route.headers, (...path) => at('route', index, 'headers', ...path), report)
    checkDestination(route.destination, (...path) => at('route', index, 'destination', ...path), report)
  }
  if (routes.length > 1 && routes.every((route) => (route.weight ?? 0) === 0))
    report('SP4000', at('route'), 'the weights add up to 0')
  if (rule.mirror !== undefined) checkDestination(rule.mirror, (...path) => at('mirror', ...path), report)
  for (const [index, { destination }] of (rule.mirrors ?? []).entries())
    checkDestination(destination, (...path) => at('mirrors', index, 'destination', ...path), report)
}

/** As Istio: `*.suffix` means the ServiceEntry of that very name (the requested name is resolved), `*` means nothing. */
function checkDestination(destination: RouteDestination, at: At, report: Report): void {
  const { host } = destination
  if (host === '*' || canonicalHostPattern(host) === null)
    report('SP4000', at('host'), `${JSON.stringify(host)} is no destination: name one host or a *.suffix`)
  checkSubsetAndPort(destination, at, report)
}
