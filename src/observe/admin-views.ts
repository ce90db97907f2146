/** How /clusters, /listeners and /certs show what the gateway has (behaviour §9.3): Envoy's text lines and JSON. */
import { isIP } from 'node:net'
import { httpPrefix } from './metrics/envoy.ts'

/** Structurally forward/clusters.ts' ClusterDescription. */
export type ClusterStatus = {
  readonly name: string
  readonly host: string
  /** static, dns, dns-first or dynamic. */
  readonly discovery: string
  /** null: plain text to the upstream. */
  readonly tls: string | null
  readonly endpoints: readonly {
    /** IP, without brackets. */
    readonly address: string
    readonly port: number
    readonly weight: number
    readonly cxActive: number
    readonly rqActive: number
    /** Why the address guard keeps this address from being dialled; null: it may be. */
    readonly denied: string | null
    /** Outlier detection leaves it alone at present. */
    readonly ejected: boolean
    /** 0 is used first. */
    readonly priority: number
  }[]
}

export type ListenerStatus = {
  /** Envoy's name: `0.0.0.0_8080`. */
  readonly name: string
  readonly address: string
  readonly port: number
  readonly gatewayPort: number
}

export type CertificateStatus = {
  readonly credential: string
  readonly path: string
  readonly kind: 'certificate' | 'ca'
  readonly sans: readonly string[]
  /** Milliseconds since the epoch. */
  readonly notBefore: number
  readonly notAfter: number
  readonly serial: string
}

const socketName = ({ address, port }: { readonly address: string; readonly port: number }) =>
  isIP(address) === 6 ? `[${address}]:${port}` : `${address}:${port}`

/** `outbound|443||h::1.2.3.4:443::cx_active::0`, one fact a line. */
export function clustersText(clusters: readonly ClusterStatus[]): string {
  const lines: string[] = []
  for (const { name, host, discovery, tls, endpoints } of clusters) {
    lines.push(`${name}::observability_name::${name}`, `${name}::host::${host}`, `${name}::discovery::${discovery}`)
    lines.push(`${name}::tls::${tls ?? 'none'}`)
    for (const endpoint of endpoints) {
      const prefix = `${name}::${socketName(endpoint)}`
      lines.push(`${prefix}::cx_active::${endpoint.cxActive}`, `${prefix}::rq_active::${endpoint.rqActive}`)
      lines.push(`${prefix}::health_flags::${healthFlags(endpoint)}`)
      lines.push(`${prefix}::weight::${endpoint.weight}`, `${prefix}::priority::${endpoint.priority}`)
    }
  }
  return lines.map((line) => `${line}\n`).join('')
}

/** Envoy's flag names; that of the address guard is ours. */
function healthFlags({ denied, ejected }: { readonly denied: string | null; readonly ejected: boolean }): string {
  if (denied !== null) return `/address_denied{${denied}}`
  return ejected ? '/failed_outlier_check' : 'healthy'
}

/** The shape of Envoy's admin.v3.Clusters, with the fields we have. */
export function clustersJson(clusters: readonly ClusterStatus[]): unknown {
  const gauge = (name: string, value: number) => ({ name, type: 'GAUGE', value: String(value) })
  return {
    cluster_statuses: clusters.map(({ name, host, discovery, tls, endpoints }) => ({
      name,
      observability_name: name,
      host,
      discovery,
      tls,
      host_statuses: endpoints.map(({ address, port, weight, cxActive, rqActive, denied, ejected, priority }) => ({
        address: { socket_address: { address, port_value: port } },
        weight,
        priority,
        health_status: {
          eds_health_status: denied === null ? 'HEALTHY' : 'UNHEALTHY',
          ...(ejected ? { failed_outlier_check: true } : {}),
        },
        denied,
        stats: [gauge('cx_active', cxActive), gauge('rq_active', rqActive)],
      })),
    })),
  }
}

/** `0.0.0.0_8080::0.0.0.0:8080`. */
export function listenersText(listeners: readonly ListenerStatus[]): string {
  return listeners.map((listener) => `${listener.name}::${socketName(listener)}\n`).join('')
}

export function listenersJson(listeners: readonly ListenerStatus[]): unknown {
  return {
    listener_statuses: listeners.map(({ name, address, port, gatewayPort }) => ({
      name,
      local_address: { socket_address: { address, port_value: port } },
      gateway_port: gatewayPort,
      stat_prefix: httpPrefix(name),
    })),
  }
}

const DAY_MS = 86_400_000

/** The shape of Envoy's admin.v3.Certificates; one entry per credential, `now` in milliseconds since the epoch. */
export function certsJson(certificates: readonly CertificateStatus[], now: number): unknown {
  const credentials = new Map<string, CertificateStatus[]>()
  for (const certificate of certificates) {
    const list = credentials.get(certificate.credential) ?? []
    list.push(certificate)
    credentials.set(certificate.credential, list)
  }
  const details = ({ path, serial, sans, notBefore, notAfter }: CertificateStatus) => ({
    path,
    serial_number: serial,
    subject_alt_names: sans.map(sanEntry),
    days_until_expiration: String(Math.max(0, Math.floor((notAfter - now) / DAY_MS))),
    valid_from: new Date(notBefore).toISOString(),
    expiration_time: new Date(notAfter).toISOString(),
  })
  return {
    certificates: [...credentials].map(([credential, list]) => ({
      credential,
      ca_cert: list.filter(({ kind }) => kind === 'ca').map(details),
      cert_chain: list.filter(({ kind }) => kind === 'certificate').map(details),
    })),
  }
}

function sanEntry(san: string): Readonly<Record<string, string>> {
  if (san.includes('://')) return { uri: san }
  return isIP(san) === 0 ? { dns: san } : { ip_address: san }
}
