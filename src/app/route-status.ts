/** Routes and policies of a model as the status page lists them. */
import type { GatewayModel } from '../model/gateway.ts'
import type { ListenerModel } from '../model/listener.ts'
import type { CallerModel, RouteModel, VirtualHostModel } from '../model/route.ts'
import type { TunnelHostModel, TunnelRouteModel } from '../model/tunnel.ts'
import type { PolicyStatus, RouteStatus } from '../observe/status.ts'

/** Every name on every Gateway port, each once, in the order of the model. */
export function routeStatus(model: GatewayModel): readonly RouteStatus[] {
  const rows = model.listeners.flatMap((listener) => [...rowsOf(model, listener)])
  // A name without any way on is there to be refused (HTTP on a port for tunnels, for example).
  const ways = rows.filter(({ leadsTo }) => leadsTo.length > 0)
  return [...new Map(ways.map((row) => [`${row.gatewayPort} ${row.kind} ${row.host}`, row])).values()]
}

function* rowsOf(model: GatewayModel, { gatewayPort, servers }: ListenerModel): Generator<RouteStatus> {
  for (const { routeTable, tunnelTable } of servers) {
    const http = model.routeTables.find(({ name }) => name === routeTable)
    for (const each of http?.virtualHosts ?? []) yield { gatewayPort, kind: 'http', ...httpRow(each) }
    const tunnels = model.tunnelTables.find(({ name }) => name === tunnelTable)
    for (const each of tunnels?.hosts ?? []) yield { gatewayPort, kind: 'tunnel', ...tunnelRow(each) }
    const tcp = tunnels?.tcp ?? null
    if (tcp !== null) {
      const host = `(no SNI) ${tcp.hosts.join(' ')}`
      yield { gatewayPort, kind: 'tunnel', host, leadsTo: clustersOf([tcp]), callers: null, source: tcp.source }
    }
  }
}

type Row = Omit<RouteStatus, 'gatewayPort' | 'kind'>

function httpRow({ host, source, grants, routes }: VirtualHostModel): Row {
  const used = routes ?? (grants ?? []).map(({ route }) => route)
  const leadsTo = [...new Set(used.flatMap(answersOf))]
  return { host, source, leadsTo, callers: callersOf(grants) }
}

function tunnelRow({ host, source, grants, route }: TunnelHostModel): Row {
  const used = route === null ? (grants ?? []).map((grant) => grant.route) : [route]
  return { host, source, leadsTo: clustersOf(used), callers: callersOf(grants) }
}

function answersOf({ action }: RouteModel): readonly string[] {
  if (action.kind === 'forward') return action.destinations.map(({ cluster }) => cluster)
  return [action.kind === 'redirect' ? `redirect ${action.code}` : `answer ${action.status}`]
}

function clustersOf(routes: readonly TunnelRouteModel[]): readonly string[] {
  return [...new Set(routes.flatMap(({ destinations }) => destinations.map(({ cluster }) => cluster)))]
}

function callersOf(grants: readonly { readonly callers: readonly CallerModel[] }[] | null): readonly string[] | null {
  if (grants === null) return null
  const names = grants.flatMap(({ callers }) =>
    callers.flatMap(({ namespace, serviceAccounts }) =>
      serviceAccounts === null ? [namespace] : serviceAccounts.map((account) => `${namespace}/${account}`),
    ),
  )
  return [...new Set(names)]
}

/** In the order of the model. */
export function policyStatus(model: GatewayModel): readonly PolicyStatus[] {
  return model.policies.map(({ name, namespace, action, dryRun, rules, source }) => ({
    ...{ name, namespace, action, dryRun, source },
    rules: rules.length,
  }))
}
