/**
 * What the gateway can do, as readonly JSON: the only thing that passes from configuration to the data path.
 * No functions, no class instances, no Istio resources: a primary process can hand it to workers as it is.
 */
import type { ClusterModel } from './cluster.ts'
import type { AuthorizerModel } from './extension-providers.ts'
import type { LimitModel } from './limits.ts'
import type { ListenerModel } from './listener.ts'
import type { PolicyModel } from './policy.ts'
import type { RegisteredHost, RouteTableModel } from './route.ts'
import type { Settings } from './settings.ts'
import type { TelemetryModel } from './telemetry.ts'
import type { TokenRuleModel } from './token.ts'
import type { TracingModel } from './tracing.ts'
import type { TunnelTableModel } from './tunnel.ts'

export type GatewayModel = {
  /** Content hash: equal versions mean equal behaviour. */
  readonly version: string
  readonly settings: Settings
  readonly listeners: readonly ListenerModel[]
  /** Only the policies that apply to this gateway, ordered by name, then namespace. */
  readonly policies: readonly PolicyModel[]
  /** Only those that apply to this gateway, ordered by id. */
  readonly limits: readonly LimitModel[]
  /** Of the RequestAuthentications that apply to this gateway, ordered by issuer, then name; empty: tokens are not looked at. */
  readonly tokenRules: readonly TokenRuleModel[]
  /** Whom CUSTOM policies ask; null: there are none. */
  readonly authorizer: AuthorizerModel | null
  /** By name; a server refers to its table by that name. */
  readonly routeTables: readonly RouteTableModel[]
  /** By name; only the tables that a server refers to. */
  readonly tunnelTables: readonly TunnelTableModel[]
  /** Hosts of every visible ServiceEntry: what "registered" means beyond the tables (contract §4). */
  readonly registry: readonly RegisteredHost[]
  readonly clusters: readonly ClusterModel[]
  /** Where lines go, and what is counted how. */
  readonly telemetry: TelemetryModel
  /** Which requests have spans; null: none. */
  readonly tracing: TracingModel | null
}
