/**
 * What the gateway can do, as readonly JSON: the only thing that passes from configuration to the data path.
 * No functions, no class instances, no Istio resources: a primary process can hand it to workers as it is.
 */
import type { ClusterModel } from './cluster.ts'
import type { ListenerModel } from './listener.ts'
import type { PolicyModel } from './policy.ts'
import type { RegisteredHost, RouteTableModel } from './route.ts'
import type { Settings } from './settings.ts'
import type { TunnelTableModel } from './tunnel.ts'

export type GatewayModel = {
  /** Content hash: equal versions mean equal behaviour. */
  readonly version: string
  readonly settings: Settings
  readonly listeners: readonly ListenerModel[]
  /** Only the policies that apply to this gateway, ordered by name, then namespace. */
  readonly policies: readonly PolicyModel[]
  /** By name; a server refers to its table by that name. */
  readonly routeTables: readonly RouteTableModel[]
  /** By name; only the tables that a server refers to. */
  readonly tunnelTables: readonly TunnelTableModel[]
  /** Hosts of every visible ServiceEntry: what "registered" means beyond the tables (contract §4). */
  readonly registry: readonly RegisteredHost[]
  readonly clusters: readonly ClusterModel[]
}
