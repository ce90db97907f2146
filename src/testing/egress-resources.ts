/** Istio resources for tests of whole gateways, as YAML texts (JSON documents): one Gateway, external sites, policies. */

export type TestServer = {
  readonly port: number
  readonly name: string
  readonly protocol: string
  readonly hosts?: readonly string[]
  readonly tls?: Readonly<Record<string, unknown>>
}

export const GATEWAY = 'istio-system/istio-egressgateway'

/** What sidecars use: mTLS and HTTP on port 80 for every name. */
export const MESH_SERVER: TestServer = { port: 80, name: 'mesh', protocol: 'HTTPS', tls: { mode: 'ISTIO_MUTUAL' } }

export function gatewayYaml(servers: readonly TestServer[] = [MESH_SERVER]): string {
  return document('networking.istio.io/v1', 'Gateway', 'istio-egressgateway', {
    selector: { istio: 'egressgateway' },
    servers: servers.map(({ port, name, protocol, hosts = ['*'], tls }) => ({
      port: { number: port, name, protocol },
      hosts,
      ...(tls === undefined ? {} : { tls }),
    })),
  })
}

/** An external site on loopback: a STATIC ServiceEntry for port 80, and a VirtualService that routes every Gateway port to it. */
export function siteYaml(host: string, originPort: number): string {
  const name = host.replaceAll(/[^a-z0-9]/g, '-')
  const entry = {
    hosts: [host],
    location: 'MESH_EXTERNAL',
    resolution: 'STATIC',
    ports: [{ number: 80, name: 'http', protocol: 'HTTP' }],
    endpoints: [{ address: '127.0.0.1', ports: { http: originPort } }],
  }
  const route = { route: [{ destination: { host, port: { number: 80 } } }] }
  return [
    document('networking.istio.io/v1', 'ServiceEntry', name, entry),
    document('networking.istio.io/v1', 'VirtualService', name, { hosts: [host], gateways: [GATEWAY], http: [route] }),
  ].join('---\n')
}

export type TestRule = Readonly<Record<string, unknown>>

/** An AuthorizationPolicy for every workload of the gateway's namespace. */
export function policyYaml(name: string, action: 'ALLOW' | 'DENY', rules: readonly TestRule[]): string {
  return document('security.istio.io/v1', 'AuthorizationPolicy', name, { action, rules })
}

function document(apiVersion: string, kind: string, name: string, spec: unknown): string {
  return `${JSON.stringify({ apiVersion, kind, metadata: { name, namespace: 'istio-system' }, spec })}\n`
}
