/** Route models for tests of routing: everything absent unless said otherwise. */
import type { HttpAttributes } from '../core/attributes.ts'

import type { GrantModel, MatchModel, RouteModel, VirtualHostModel } from '../model/route.ts'
import type { HeaderFacts } from '../routing/header-values.ts'
import { type RequestOptions, request } from './policy-fixtures.ts'

const SOURCE = { file: 'test.yaml', line: 1, col: 1 }

export function matchModel(fields: Partial<MatchModel> = {}): MatchModel {
  return {
    source: SOURCE,
    name: null,
    uri: null,
    ignoreUriCase: false,
    scheme: null,
    method: null,
    authority: null,
    headers: [],
    withoutHeaders: [],
    queryParams: [],
    ...fields,
  }
}

/** Forwards to a cluster of the route's own name. */
export function routeModel(
  name: string,
  matches: readonly MatchModel[] = [],
  fields: Partial<RouteModel> = {},
): RouteModel {
  const destinations = [{ cluster: name, weight: 1, headers: null }]
  const action = { kind: 'forward', destinations, timeoutMs: null, rewrite: null, retry: null, mirrors: [] } as const
  return { name, source: SOURCE, matches, action, headers: null, fault: null, cors: null, ...fields }
}

export function virtualHostModel(host: string, fields: Partial<VirtualHostModel> = {}): VirtualHostModel {
  return { host, source: SOURCE, grants: null, routes: null, httpsRedirect: false, ...fields }
}

/** `callers`: namespace → service accounts, or null for all of them. */
export function grantModel(name: string, callers: Readonly<Record<string, readonly string[] | null>>): GrantModel {
  const list = Object.entries(callers).map(([namespace, serviceAccounts]) => ({
    namespace,
    serviceAccounts,
    source: SOURCE,
  }))
  return { name, source: SOURCE, callers: list, route: routeModel(name) }
}

/** A request of the caller's, before there is a response. */
export function headerFacts(options: RequestOptions = {}, fields: Partial<HeaderFacts> = {}): HeaderFacts {
  const attributes = request(options)
  const connection = {
    id: 7,
    openedAt: 0,
    remoteAddress: attributes.sourceIp,
    remotePort: 40_000,
    localAddress: attributes.destinationIp,
    localPort: attributes.destinationPort,
    gatewayPort: attributes.gatewayPort,
    peer: attributes.peer,
    tls: attributes.sni === null ? null : { sni: attributes.sni, alpn: null, version: 'TLSv1.3', cipher: 'AES' },
  }
  return {
    connection,
    http: httpRequest(options),
    protocol: 'HTTP/1.1',
    requestId: 'id',
    xForwardedFor: attributes.sourceIp,
    startedAt: Date.parse('2024-02-03T04:05:06.007Z'),
    hostname: 'gateway-0',
    routeName: null,
    cluster: null,
    response: null,
    ...fields,
  }
}

/** The HTTP half of policy-fixtures' `request`. */
export function httpRequest(options: RequestOptions = {}): HttpAttributes {
  const { http } = request(options)
  if (http === null) throw new Error('request() makes HTTP requests')
  return http
}
