/** Routes for opaque bytes: by SNI (VirtualService `tls`, egress policies) and by port alone (VirtualService `tcp`). */
import type { SourceRef } from '../core/attributes.ts'
import type { CallerModel } from './route.ts'

/** `cluster` is a ClusterModel name; an unknown one ends the tunnel with NC. Weights are relative; none is 0. */
export type TunnelRouteModel = {
  readonly name: string | null
  readonly source: SourceRef
  readonly destinations: readonly { readonly cluster: string; readonly weight: number }[]
}

/** One `to` of an egress policy for one host: who may use it, and where it leads. */
export type TunnelGrantModel = {
  readonly name: string
  readonly source: SourceRef
  readonly callers: readonly CallerModel[]
  readonly route: TunnelRouteModel
}

/** What one SNI (exact or `*.suffix`, lower case) leads to. */
export type TunnelHostModel = {
  readonly host: string
  readonly source: SourceRef
  /** null: no egress policy speaks for this host. Else the first whose callers hold the peer decides; none: as unregistered. */
  readonly grants: readonly TunnelGrantModel[] | null
  /** From VirtualService `tls` rules; null: none matches (the grant's own route, or NR). */
  readonly route: TunnelRouteModel | null
}

export type TunnelTableModel = {
  readonly name: string
  readonly hosts: readonly TunnelHostModel[]
  /**
   * For bytes without SNI, server-first protocols, and SNIs no `tls` rule matches. `hosts`: what an SNI carried over it
   * must be covered by (server ∩ VirtualService). null: there is none.
   */
  readonly tcp: (TunnelRouteModel & { readonly hosts: readonly string[] }) | null
}
