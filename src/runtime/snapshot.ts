/**
 * GatewayModel → Snapshot: everything a connection or request needs, compiled once, immutable, swapped by one
 * assignment. Compiling may throw (bad credential, bad log format); then the last good snapshot stays.
 */
import { classifyAddress } from '../core/address-class.ts'
import type { ClusterSet } from '../forward/clusters.ts'
import type { Credentials, TlsMaterial } from '../identity/credentials.ts'
import { compilePeerRules, type PeerRules } from '../identity/peer.ts'
import type { ClusterModel } from '../model/cluster.ts'
import type { GatewayModel } from '../model/gateway.ts'
import type { ListenerModel, ServerModel } from '../model/listener.ts'
import type { Settings } from '../model/settings.ts'
import type { LineWriter } from '../observe/access-log/format.ts'
import type { ExchangeRecord } from '../observe/record.ts'
import { compileAuthorizer } from '../policy/authorizer.ts'
import { type HostIndex, indexHosts } from '../routing/host-index.ts'
import { compileRouteTable, type RouteTable } from '../routing/table.ts'
import { compileTunnelTable, type TunnelTable } from '../routing/tunnel-table.ts'
import type { Gates } from './gate.ts'
import { type Judge, PASSTHROUGH } from './judge.ts'

export type ServerPlan = {
  readonly model: ServerModel
  readonly table: RouteTable
  /** null: it carries no tunnels. */
  readonly tunnels: TunnelTable | null
  /** null: plaintext, or TLS that is passed through. */
  readonly material: TlsMaterial | null
  /** What it demands of a caller's certificate; null: it asks for none. */
  readonly peerRules: PeerRules | null
  /** Equal keys: the same TLS configuration, so connections and tickets of one are good for the other. */
  readonly tlsKey: string
  /** Equal keys: a client certificate accepted under one is accepted under the other. */
  readonly trustKey: string
}

export type ListenerPlan = {
  readonly model: ListenerModel
  readonly plaintext: ServerPlan | null
  readonly servers: readonly ServerPlan[]
  /** The TLS server for a ClientHello; null: nobody claims the name. `mesh`: it can only be a sidecar's own mTLS. */
  select(sni: string | null, mesh: boolean): ServerPlan | null
}

export type Snapshot = {
  readonly model: GatewayModel
  readonly settings: Settings
  /** Counts successful loads of this process, from 1. */
  readonly generation: number
  readonly listeners: ReadonlyMap<number, ListenerPlan>
  readonly judge: Judge
  /** What else a request has to pass: blocks, authorizers, tokens, limits. */
  readonly gates: Gates
  /** Names of the gateway itself, which an outer SNI may be (contract §4, Names). */
  readonly ownNames: ReadonlySet<string>
  readonly clusters: ClusterSet
  /** Clusters that may lead to an address of the inside, and so back to a gateway: their requests carry `via`. */
  readonly inside: ReadonlySet<string>
  readonly credentials: Credentials
  /** Empty: the access log is off. */
  readonly accessLogs: readonly LogPlan[]
}

/** One access log, compiled. */
export type LogPlan = {
  readonly path: string
  /** null: every record. */
  readonly filter: ((record: ExchangeRecord) => boolean) | null
  readonly print: LineWriter
}

/** What a snapshot is made of besides the model. */
export type SnapshotParts = Pick<Snapshot, 'generation' | 'clusters' | 'credentials' | 'accessLogs' | 'gates'> & {
  /** Peer rules of unchanged TLS configurations are kept: they remember vouched chains for resumed sessions. */
  readonly previous: Snapshot | null
}

/** Compiles routing tables, policies and listener plans. Pure but for what `parts` brings. */
export function compileSnapshot(model: GatewayModel, parts: SnapshotParts): Snapshot {
  const tables: Tables = {
    routes: new Map(model.routeTables.map((table) => [table.name, compileRouteTable(table)])),
    tunnels: new Map(model.tunnelTables.map((table) => [table.name, compileTunnelTable(table)])),
  }
  const listeners = new Map<number, ListenerPlan>()
  const { previous, ...rest } = parts
  const known = new Map<string, PeerRules>()
  for (const plan of previous?.listeners.values() ?? []) {
    for (const { tlsKey, trustKey, peerRules } of plan.servers)
      if (peerRules !== null) known.set(tlsKey + trustKey, peerRules)
  }
  for (const listener of model.listeners) {
    listeners.set(listener.gatewayPort, planListener(listener, tables, parts.credentials, model.settings, known))
  }
  return {
    ...rest,
    model,
    settings: model.settings,
    listeners,
    judge: createJudge(model),
    inside: insideClusters(model),
    ownNames: namesOf(model.settings, parts.credentials),
  }
}

const UNCLAIMED = 'unclaimed:'

/** The judging half alone: no credentials, no clusters, no I/O. What `explain` uses. */
export function createJudge(model: GatewayModel): Judge {
  const registry = indexHosts(model.registry.map(({ host }) => [host, true] as const))
  const bound = new Map<number, HostIndex<true>>()
  const tables = new Map(model.routeTables.map((table) => [table.name, table]))
  for (const listener of model.listeners) {
    // A declared port that nobody speaks for answers as for an unregistered host, whatever ServiceEntries say (contract §4).
    if (listener.servers.every(({ name }) => name.startsWith(UNCLAIMED))) continue
    const names = listener.servers.flatMap(
      (server) => tables.get(server.routeTable)?.virtualHosts.map(({ host }) => [host, true] as const) ?? [],
    )
    bound.set(listener.gatewayPort, indexHosts(names))
  }
  return {
    authorizer: compileAuthorizer(model.policies),
    isRegistered: (host, gatewayPort) => {
      const names = bound.get(gatewayPort)
      return names !== undefined && (registry.find(host) !== null || names.find(host) === true)
    },
    allowAny: model.settings.mesh.outboundTrafficPolicy === 'ALLOW_ANY',
  }
}

/**
 * By configuration alone: STATIC addresses of a private network, and everything once `addressGuard.allow` opens the
 * inside. Not loopback: what listens there is this pod's own, and our own listeners are refused as `self`.
 */
function insideClusters(model: GatewayModel): ReadonlySet<string> {
  const open = model.settings.addressGuard.allow.length > 0
  const leadsInside = ({ endpoints }: ClusterModel) =>
    endpoints.some(({ address }) => !['public', 'loopback', undefined].includes(classifyAddress(address)?.class))
  const names = model.clusters.filter((cluster) => open || leadsInside(cluster)).map(({ name }) => name)
  return new Set(open ? [...names, PASSTHROUGH] : names)
}

type Tables = { readonly routes: ReadonlyMap<string, RouteTable>; readonly tunnels: ReadonlyMap<string, TunnelTable> }

/** What the mesh calls this gateway's Service (contract §4, Names). */
export function serviceNames({ name, namespace, mesh }: Settings): readonly string[] {
  const service = `${name}.${namespace}.svc`
  return [`${service}.cluster.local`, `${service}.${mesh.trustDomain}`, service, `${name}.${namespace}`]
}

/** Its Service names, and the DNS names in its own certificate. */
function namesOf(settings: Settings, credentials: Credentials): ReadonlySet<string> {
  const own = credentials.inventory.filter(({ path }) => path === settings.identity.certificateChain)
  return new Set([...serviceNames(settings), ...own.flatMap(({ sans }) => sans)])
}

function planListener(
  model: ListenerModel,
  tables: Tables,
  credentials: Credentials,
  settings: Settings,
  known: ReadonlyMap<string, PeerRules>,
): ListenerPlan {
  const servers = model.servers.map((server): ServerPlan => {
    const table = tables.routes.get(server.routeTable)
    const tunnels = server.tunnelTable === null ? null : tables.tunnels.get(server.tunnelTable)
    if (table === undefined || tunnels === undefined) {
      throw new Error(`server ${server.name} names an unknown table: ${server.routeTable}, ${server.tunnelTable}`)
    }
    const { tls } = server
    const material = tls === null || tls.mode === 'PASSTHROUGH' ? null : credentials.server(tls)
    const trust =
      tls === null
        ? null
        : [
            tls.mode,
            material?.ca ?? null,
            tls.subjectAltNames,
            tls.spkiPins,
            tls.certificatePins,
            credentials.trustBundle,
            settings.mesh.trustDomain,
            settings.mesh.trustDomainAliases,
          ]
    const tlsKey = JSON.stringify([tls, material?.hash ?? null])
    const trustKey = JSON.stringify(trust)
    const asks = tls !== null && tls.clientCa !== null
    const peerRules = asks ? (known.get(tlsKey + trustKey) ?? compilePeerRules(tls, credentials, settings.mesh)) : null
    return { model: server, table, tunnels, material, peerRules, tlsKey, trustKey }
  })
  const terminating = servers.filter(({ model: server }) => server.tls !== null && server.tls.mode !== 'PASSTHROUGH')
  const anyTls = servers.filter(({ model: server }) => server.tls !== null)
  const meshIndex = indexHosts(
    terminating.flatMap((server) => server.model.sniHosts.map((host) => [host, server] as const)),
  )
  const sniIndex = indexHosts(anyTls.flatMap((server) => server.model.sniHosts.map((host) => [host, server] as const)))
  return {
    model,
    servers,
    plaintext: servers.find(({ model: server }) => server.tls === null) ?? null,
    // A hello without SNI can only belong to a server that takes every name.
    select: (sni, mesh) => (mesh ? meshIndex : sniIndex).find(sni ?? ''),
  }
}

/**
 * The server of a snapshot for a connection accepted under an earlier one (a keep-alive connection outlives reloads).
 * null: nothing on this port speaks that way any more.
 */
export function currentServer(
  snapshot: Snapshot,
  gatewayPort: number,
  tls: { readonly sni: string | null; readonly mesh: boolean } | null,
): ServerPlan | null {
  const listener = snapshot.listeners.get(gatewayPort)
  if (listener === undefined) return null
  return tls === null ? listener.plaintext : listener.select(tls.sni, tls.mesh)
}
