/**
 * Route tables compiled for the data path: authority → virtual host → grant for the caller → route. Also behind
 * `explain`. Pure: the random number that picks among weighted destinations is passed in.
 */
import type { HttpAttributes, Peer } from '../core/attributes.ts'
import type {
  ForwardAction,
  GrantModel,
  HeaderEdits,
  MatchModel,
  RouteModel,
  RouteTableModel,
  VirtualHostModel,
} from '../model/route.ts'
import { type Cors, compileCors } from './cors.ts'
import { type HostIndex, indexHosts } from './host-index.ts'
import { type CompiledMatch, compileMatch } from './match.ts'
import { compileRewrite, type PathRewrite } from './rewrite.ts'

export type RouteTable = {
  readonly name: string
  /** `host`: canonical, without port (the port plays no part, behaviour §4.3). null: not in this table. */
  readonly virtualHost: (host: string) => VirtualHost | null
}

export type Grant = {
  readonly model: GrantModel
  readonly route: Route
  /** `route` alone: what is consulted when no VirtualService speaks for the host. */
  readonly routes: readonly Route[]
}

export type Destination = { readonly cluster: string; readonly headers: HeaderEdits | null }

export type Route = {
  readonly model: RouteModel
  readonly matches: readonly CompiledMatch[]
  /** Cumulative weights, ending at the total; empty unless the action forwards. */
  readonly destinations: readonly (Destination & { readonly upTo: number })[]
  /** null: the path goes out as it came. */
  readonly rewritePath: PathRewrite | null
  readonly cors: Cors | null
}

export type RouteMatch = {
  readonly route: Route
  /** The alternative that held; null when the route has none (it always matches). */
  readonly matched: MatchModel | null
  /** `<route>.<match>` when both are named (behaviour §4.4), else the one that is, else null. */
  readonly name: string | null
}

type MatchExplanation = { readonly route: RouteModel; readonly matched: boolean; readonly why: string }

/** Compiles a table. Throws RegexError for a pattern that config should have refused. */
export function compileRouteTable(model: RouteTableModel): RouteTable {
  const index: HostIndex<VirtualHost> = indexHosts(
    model.virtualHosts.map((host) => [host.host, new VirtualHost(host)] as const),
  )
  return { name: model.name, virtualHost: index.find }
}

/** A class, not closures: there are thousands of them, and each garbage collection goes through every closure. */
export class VirtualHost {
  readonly model: VirtualHostModel
  readonly #grants: readonly Grant[] | null
  /** null: the grant's own are consulted. */
  readonly #routes: readonly Route[] | null

  /** Throws RegexError as `compileRouteTable` does. */
  constructor(model: VirtualHostModel) {
    this.model = model
    this.#grants = model.grants?.map(compileGrant) ?? null
    this.#routes = model.httpsRedirect ? [redirectToHttps(model)] : (model.routes?.map(compileRoute) ?? null)
  }

  /** The first grant whose callers hold the peer. null also when `model.grants` is null (no egress policy speaks). */
  grant(peer: Peer): Grant | null {
    return this.#grants?.find((grant) => holdsCaller(grant.model, peer)) ?? null
  }

  /**
   * The first route that matches; null answers 404 NR. With `model.grants` set and no grant given it is always null:
   * a caller whom no `from` holds must not reach a route.
   */
  match(http: HttpAttributes, grant: Grant | null): RouteMatch | null {
    for (const route of this.#candidates(grant)) {
      const match = matchRoute(route, http)
      if (match !== null) return match
    }
    return null
  }

  /** Every route consulted, in order, up to and including the one that matched. */
  explainMatch(http: HttpAttributes, grant: Grant | null): readonly MatchExplanation[] {
    const seen: MatchExplanation[] = []
    for (const route of this.#candidates(grant)) {
      const match = matchRoute(route, http)
      seen.push({ route: route.model, matched: match !== null, why: explainRoute(route, http, match) })
      if (match !== null) break
    }
    return seen
  }

  #candidates(grant: Grant | null): readonly Route[] {
    if (this.#grants !== null && grant === null) return NO_ROUTES
    if (this.#routes !== null) return this.#routes
    return grant === null ? NO_ROUTES : grant.routes
  }
}

const NO_ROUTES: readonly Route[] = []
const NO_MATCHES: readonly CompiledMatch[] = []

function compileGrant(model: GrantModel): Grant {
  const route = compileRoute(model.route)
  return { model, route, routes: [route] }
}

/** Only a SPIFFE identity of the form `/ns/NS/sa/SA` can be in a `from`; an unproved caller is in none. */
export function holdsCaller(grant: Pick<GrantModel, 'callers'>, peer: Peer): boolean {
  if (peer.kind !== 'spiffe') return false
  const { namespace, serviceAccount } = peer.id
  if (namespace === null) return false
  return grant.callers.some(
    (caller) =>
      caller.namespace === namespace &&
      (caller.serviceAccounts === null || (serviceAccount !== null && caller.serviceAccounts.includes(serviceAccount))),
  )
}

function compileRoute(model: RouteModel): Route {
  const { action, cors } = model
  return {
    model,
    matches: model.matches.length === 0 ? NO_MATCHES : model.matches.map(compileMatch),
    destinations: action.kind === 'forward' ? cumulate(action.destinations) : [],
    rewritePath: action.kind === 'forward' ? compileRewrite(action.rewrite) : null,
    cors: cors === null ? null : compileCors(cors),
  }
}

function cumulate(destinations: ForwardAction['destinations']): Route['destinations'] {
  let upTo = 0
  return destinations.map(({ cluster, headers, weight }) => {
    upTo += weight
    return { cluster, headers, upTo }
  })
}

/**
 * One destination of a forwarding route, by weight. `random`: in [0, 1). Throws RangeError for a route that does not
 * forward: the caller must have looked at `route.model.action.kind`.
 */
export function pickDestination(route: Route, random: number): Destination {
  const { length } = route.destinations
  const last = route.destinations[length - 1]
  if (last === undefined) throw new RangeError(`the route at ${route.model.source.file} forwards nowhere`)
  if (length === 1) return last
  const point = random * last.upTo
  return route.destinations.find((destination) => point < destination.upTo) ?? last
}

function matchRoute(route: Route, http: HttpAttributes): RouteMatch | null {
  if (route.matches.length === 0) return { route, matched: null, name: route.model.name }
  for (const match of route.matches) {
    if (match.test(http)) return { route, matched: match.model, name: matchName(route.model.name, match.model.name) }
  }
  return null
}

function matchName(route: string | null, match: string | null): string | null {
  if (route === null) return match
  return match === null ? route : `${route}.${match}`
}

function explainRoute(route: Route, http: HttpAttributes, match: RouteMatch | null): string {
  if (match !== null) return match.matched === null ? 'matches every request' : `match at ${place(match.matched)} holds`
  return route.matches.map((each) => `match at ${place(each.model)}: ${each.whyNot(http) ?? 'holds'}`).join('; ')
}

function place(model: MatchModel): string {
  return `${model.source.file}:${model.source.line}`
}

/** `httpsRedirect`: 301 to the same host and path on https, whatever else is configured (Envoy require_tls: ALL). */
function redirectToHttps(model: VirtualHostModel): Route {
  return compileRoute({
    name: null,
    source: model.source,
    matches: [],
    action: {
      kind: 'redirect',
      code: 301,
      uri: null,
      replacesPrefix: false,
      authority: null,
      scheme: 'https',
      port: null,
    },
    headers: null,
    fault: null,
    cors: null,
  })
}
