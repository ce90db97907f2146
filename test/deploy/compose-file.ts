/** docker-compose.yml and the files it mounts, parsed: what the tests of the demo read. */
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { parse } from 'yaml'

export const ROOT = path.resolve(import.meta.dirname, '../..')

export type Service = {
  readonly image: string
  readonly build?: string
  readonly profiles?: readonly string[]
  readonly user: string
  readonly read_only: boolean
  readonly cap_drop: readonly string[]
  readonly network_mode?: string
  readonly networks?: readonly string[] | Readonly<Record<string, { readonly aliases?: readonly string[] }>>
  readonly volumes?: readonly string[]
  readonly ports?: readonly string[]
  readonly extra_hosts?: readonly string[]
  readonly depends_on?: readonly string[] | Readonly<Record<string, unknown>>
  readonly entrypoint?: readonly string[]
  readonly command?: readonly string[]
  readonly stop_grace_period?: string
  readonly healthcheck?: { readonly test?: readonly string[] }
  readonly environment?: Readonly<Record<string, string>>
}

export type ComposeFile = {
  readonly services: Readonly<Record<string, Service>>
  readonly networks: Readonly<
    Record<
      string,
      { readonly internal?: boolean; readonly ipam?: { readonly config: readonly { readonly subnet: string }[] } }
    >
  >
  readonly volumes: Readonly<Record<string, object>>
}

export const readYaml = (file: string): unknown =>
  parse(readFileSync(path.join(ROOT, file), 'utf8'), { merge: true }) as unknown

export const COMPOSE = readYaml('docker-compose.yml') as ComposeFile

/** @throws when there is no such service */
export function service(name: string): Service {
  const found = COMPOSE.services[name]
  if (found === undefined) throw new Error(`docker-compose.yml has no service ${name}`)
  return found
}

export const networksOf = ({ networks = [] }: Service): string[] =>
  Array.isArray(networks) ? [...(networks as readonly string[])] : Object.keys(networks)

/** The names by which others on this network reach the service, besides its own. */
export function aliases(name: string, network: string): readonly string[] {
  const { networks = {} } = service(name)
  return Array.isArray(networks)
    ? []
    : ((networks as Exclude<Service['networks'], readonly string[] | undefined>)?.[network]?.aliases ?? [])
}

/** `source:target[:mode]`, split. */
export const mountsOf = ({ volumes = [] }: Service) =>
  volumes.map((volume) => {
    const [source = '', target = '', mode = 'rw'] = volume.split(':')
    return { source, target, mode }
  })

type Address = { readonly socket_address: { readonly address: string; readonly port_value: number } }

/** The part of an Envoy's static configuration that concerns the way to the gateway. */
export type EnvoyCluster = {
  readonly name: string
  readonly load_assignment: {
    readonly endpoints: readonly [
      { readonly lb_endpoints: readonly [{ readonly endpoint: { readonly address: Address } }] },
    ]
  }
  readonly transport_socket: {
    readonly typed_config: {
      readonly sni: string
      readonly common_tls_context: {
        readonly alpn_protocols: readonly string[]
        readonly tls_certificates: readonly [
          {
            readonly certificate_chain: { readonly filename: string }
            readonly private_key: { readonly filename: string }
          },
        ]
        readonly validation_context: {
          readonly trusted_ca: { readonly filename: string }
          readonly match_typed_subject_alt_names: readonly [
            { readonly san_type: string; readonly matcher: { readonly exact: string } },
          ]
        }
      }
    }
  }
}

export type EnvoyFile = {
  readonly static_resources: {
    readonly listeners: readonly { readonly name: string; readonly address: Address }[]
    readonly clusters: readonly EnvoyCluster[]
  }
}

export const ENVOY = readYaml('compose/envoy.yaml') as EnvoyFile

export const endpointOf = (cluster: EnvoyCluster): Address['socket_address'] =>
  cluster.load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address
