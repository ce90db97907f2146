/** What is wrong with `tls` and `tcp` rules by themselves (behaviour §4.7; Istio validateTLSRoute, validateTCPRoute). */
import { isIP } from 'node:net'
import type { SourceRef } from '../../core/attributes.ts'
import { parseCidr } from '../../core/cidr.ts'
import { canonicalHostPattern, hostCovers } from '../../core/host-pattern.ts'
import { isLabel } from '../hostname.ts'
import type { Report, Resource } from '../resource.ts'
import { type At, checkGateways, checkNamespace, checkSourceLabels, matchKey } from './virtual-service-match-checks.ts'
import type { L4Match, L4Route, RouteDestination, VirtualServiceSpec } from './virtual-service-schema.ts'

export function checkL4Rules({ spec, at }: Resource<VirtualServiceSpec>, report: Report): void {
  const hosts = (spec.hosts ?? []).map(canonicalHostPattern).filter((host) => host !== null)
  for (const [index, { match, route }] of (spec.tls ?? []).entries()) {
    const below: At = (...path) => at('spec', 'tls', index, ...path)
    if (match.length === 0)
      report('SP4000', below('match'), 'a tls rule needs a match: TLS is told apart by its SNI', {
        fix: 'match: [{ sniHosts: [name] }]',
      })
    for (const [matchIndex, each] of match.entries()) {
      checkPlaces(each, (...path) => below('match', matchIndex, ...path), report)
      for (const [i, sni] of each.sniHosts.entries())
        checkSni(sni, hosts, below('match', matchIndex, 'sniHosts', i), report)
    }
    checkRoute(route, 'tls', below, report)
  }
  checkRepeated(spec.tls ?? [], 'tls', (...path) => at('spec', 'tls', ...path), report)
  checkRepeated(spec.tcp ?? [], 'tcp', (...path) => at('spec', 'tcp', ...path), report)
  let all: number | null = null
  for (const [index, { match = [], route }] of (spec.tcp ?? []).entries()) {
    const below: At = (...path) => at('spec', 'tcp', index, ...path)
    if (all !== null)
      report('SP4022', below(), `rule ${index} is never reached: tcp rule ${all} matches every connection`)
    else if (match.length === 0) all = index
    for (const [matchIndex, each] of match.entries())
      checkPlaces(each, (...path) => below('match', matchIndex, ...path), report)
    checkRoute(route, 'tcp', below, report)
  }
}

/** Istio validateL4MatchAttributes. Most of it has no effect at a gateway, and is checked all the same. */
function checkPlaces(match: L4Match, at: At, report: Report): void {
  const { sourceSubnet = '', destinationSubnets = [], sourceNamespace, sourceLabels, gateways } = match
  if (sourceSubnet !== '' && parseCidr(sourceSubnet) === null)
    report('SP4000', at('sourceSubnet'), `${JSON.stringify(sourceSubnet)} is no address block`)
  for (const [index, subnet] of destinationSubnets.entries())
    if (parseCidr(subnet) === null)
      report('SP4000', at('destinationSubnets', index), `${JSON.stringify(subnet)} is no address block`)
  checkNamespace(sourceNamespace, at, report)
  checkSourceLabels(sourceLabels, at, report)
  checkGateways(gateways, (index) => at('gateways', index), report)
}

function checkSni(text: string, hosts: readonly string[], at: SourceRef, report: Report): void {
  const sni = canonicalHostPattern(text)
  if (sni === null) report('SP4004', at, `${JSON.stringify(text)} is not a name, *.suffix or *`)
  else if (hosts.length > 0 && !hosts.some((host) => hostCovers(host, sni)))
    report('SP4000', at, `SNI ${sni} is covered by no host of the VirtualService (${hosts.join(', ')})`, {
      fix: 'add it to spec.hosts',
    })
  else if (isIP(sni) !== 0)
    report('SP4030', at, `an SNI is never an IP address (RFC 6066): ${sni} matches nothing that keeps to it`)
}

/** Matches that an earlier rule has already (Istio analyzeUnreachableTLSRules and …TCPRules). */
function checkRepeated(
  rules: readonly { readonly match?: readonly L4Match[] | undefined }[],
  kind: 'tls' | 'tcp',
  at: At,
  report: Report,
): void {
  const seen = new Map<string, number>()
  for (const [index, { match = [] }] of rules.entries())
    for (const [matchIndex, each] of match.entries()) {
      const key = matchKey(each)
      const first = seen.get(key)
      if (first === undefined) seen.set(key, index)
      else report('SP4047', at(index, 'match', matchIndex), `${kind} rule ${first} has the same match and comes first`)
    }
}

/** Istio validateSubsetName (capitals are legal in its labels) and validatePortSelector. */
export function checkSubsetAndPort({ subset = '', port }: RouteDestination, at: At, report: Report): void {
  if (subset !== '' && !isLabel(subset.toLowerCase()))
    report('SP4000', at('subset'), `${JSON.stringify(subset)} is not the name of a subset (a DNS label)`)
  if (port !== undefined && port.number === undefined) report('SP4000', at('port'), 'port needs a number')
}

function checkRoute(route: readonly L4Route[] | undefined, kind: 'tls' | 'tcp', at: At, report: Report): void {
  const routes = route ?? []
  if (routes.length === 0) report('SP4027', at(), `the ${kind} rule has no route`, { fix: 'add a destination' })
  if (routes.length > 1 && routes.every(({ weight = 0 }) => weight === 0))
    report('SP4000', at('route'), 'the weights add up to 0')
  for (const [index, { destination }] of routes.entries()) {
    const { host } = destination
    checkSubsetAndPort(destination, (...path) => at('route', index, 'destination', ...path), report)
    const where = at('route', index, 'destination', 'host')
    // A wildcard resolves the SNI. Everything there is would be no restriction at all.
    if (kind === 'tcp' && host.includes('*'))
      report('SP4000', where, 'the bytes of a tcp rule name no host: its destination is one host')
    else if (host === '*' || canonicalHostPattern(host) === null)
      report('SP4000', where, `${JSON.stringify(host)} is no destination: name one host or a *.suffix`)
  }
}
