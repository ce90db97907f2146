/** Resources for integration tests. They are written as JSON, which is YAML too, several documents to a file. */

export type Manifest = { readonly kind: string; readonly [key: string]: unknown }

const NETWORKING = 'networking.istio.io/v1'
const SECURITY = 'security.istio.io/v1'
const NAMESPACE = 'istio-system'

/** One file of several documents. */
export function documents(...manifests: readonly Manifest[]): string {
  return manifests.map((manifest) => `${JSON.stringify(manifest, null, 2)}\n`).join('---\n')
}

type ServerOptions = {
  readonly number?: number
  readonly hosts?: readonly string[]
  readonly tls?: object | null
  readonly name?: string
  readonly protocol?: string
}

/** A Gateway named `egress` with one server: plaintext HTTP on Gateway port 80 for `*` unless told otherwise. */
export function gateway(...servers: readonly ServerOptions[]): Manifest {
  const all = servers.length === 0 ? [{}] : servers
  return {
    apiVersion: NETWORKING,
    kind: 'Gateway',
    metadata: { name: 'egress', namespace: NAMESPACE },
    spec: {
      selector: { istio: 'egressgateway' },
      servers: all.map(({ number = 80, hosts = ['*'], tls = null, name = `port-${number}`, protocol }) => ({
        port: { number, name, protocol: protocol ?? (tls === null ? 'HTTP' : 'HTTPS') },
        hosts,
        ...(tls === null ? {} : { tls }),
      })),
    },
  }
}

export const ISTIO_MUTUAL = { mode: 'ISTIO_MUTUAL' }

type ServiceEntryOptions = {
  readonly port?: number
  readonly resolution?: string
  readonly protocol?: string
  readonly address?: string
  /** More of `spec`. */
  readonly spec?: object
}

/** A MESH_EXTERNAL host whose port is found on loopback (STATIC) at `target`. */
export function serviceEntry(name: string, host: string, target: number, options: ServiceEntryOptions = {}): Manifest {
  const { port = 80, resolution = 'STATIC', protocol = 'HTTP', address = '127.0.0.1', spec = {} } = options
  const endpoints = resolution === 'STATIC' ? { endpoints: [{ address }] } : {}
  return {
    apiVersion: NETWORKING,
    kind: 'ServiceEntry',
    metadata: { name, namespace: NAMESPACE },
    spec: {
      hosts: [host],
      location: 'MESH_EXTERNAL',
      resolution,
      ports: [{ number: port, name: 'p', protocol, targetPort: target }],
      ...endpoints,
      ...spec,
    },
  }
}

/** A VirtualService bound to the Gateway `egress`. */
export function virtualService(
  name: string,
  hosts: readonly string[],
  rules: readonly object[],
  spec: object = {},
): Manifest {
  return {
    apiVersion: NETWORKING,
    kind: 'VirtualService',
    metadata: { name, namespace: NAMESPACE },
    spec: { hosts, gateways: ['egress'], http: rules, ...spec },
  }
}

/** `route` of a rule: everything to one port of one host. */
export function to(
  host: string,
  number = 80,
): { readonly destination: { readonly host: string; readonly port: { readonly number: number } } }[] {
  return [{ destination: { host, port: { number } } }]
}

export function destinationRule(name: string, host: string, trafficPolicy: object): Manifest {
  return {
    apiVersion: NETWORKING,
    kind: 'DestinationRule',
    metadata: { name, namespace: NAMESPACE },
    spec: { host, trafficPolicy },
  }
}

export function authorizationPolicy(name: string, action: 'ALLOW' | 'DENY', rules: readonly object[]): Manifest {
  return {
    apiVersion: SECURITY,
    kind: 'AuthorizationPolicy',
    metadata: { name, namespace: NAMESPACE },
    spec: { action, rules },
  }
}

/** For every workload of the gateway's namespace. */
export function requestAuthentication(name: string, jwtRules: readonly object[]): Manifest {
  return {
    apiVersion: SECURITY,
    kind: 'RequestAuthentication',
    metadata: { name, namespace: NAMESPACE },
    spec: { jwtRules },
  }
}
