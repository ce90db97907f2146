/** Route models for tests of routing: everything absent unless said otherwise. */
import type { HttpAttributes } from '../core/attributes.ts'
import type { GrantModel, MatchModel, RouteModel, VirtualHostModel } from '../model/route.ts'
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

/** The HTTP half of policy-fixtures' `request`. */
export function httpRequest(options: RequestOptions = {}): HttpAttributes {
  const { http } = request(options)
  if (http === null) throw new Error('request() makes HTTP requests')
  return http
}
