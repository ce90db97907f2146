/** The smallest GatewayModel that names certificate files, for tests of credentials and peers. */
import { type ClusterModel, UNLIMITED_POOL, type UpstreamTlsModel } from '../model/cluster.ts'
import type { GatewayModel } from '../model/gateway.ts'
import type { ServerTls } from '../model/listener.ts'
import type { Settings } from '../model/settings.ts'

export type IdentityModelOptions = {
  readonly servers?: readonly ServerTls[]
  readonly upstreams?: readonly UpstreamTlsModel[]
  /** Default: none configured. */
  readonly identity?: Settings['identity']
  readonly secretsDirectory?: string
  readonly trustDomain?: string
  readonly trustDomainAliases?: readonly string[]
}

/** A `tls` block with nothing but a mode and material. */
export function serverTls(
  parts: Pick<ServerTls, 'mode' | 'certificates' | 'clientCa'> & Partial<ServerTls>,
): ServerTls {
  return {
    subjectAltNames: [],
    spkiPins: [],
    certificatePins: [],
    minVersion: null,
    maxVersion: null,
    ciphers: null,
    ...parts,
  }
}

export function upstreamTls(parts: Partial<UpstreamTlsModel>): UpstreamTlsModel {
  return {
    mode: 'SIMPLE',
    sni: null,
    subjectAltNames: [],
    ca: 'system',
    clientCertificate: null,
    insecureSkipVerify: false,
    crl: null,
    ...parts,
  }
}

export function identityModel(options: IdentityModelOptions): GatewayModel {
  const source = { file: 'test.yaml', line: 1, col: 1 }
  const clusters = (options.upstreams ?? []).map((tls, index): ClusterModel => {
    const host = `u${index}.example.com`
    return {
      name: `outbound|443||${host}`,
      statName: `outbound|443||${host}`,
      host,
      port: 443,
      discovery: 'dynamic',
      endpoints: [],
      dynamicPort: 443,
      external: true,
      tls,
      protocol: 'http1',
      loadBalancer: { kind: 'LEAST_REQUEST', warmup: null },
      pool: UNLIMITED_POOL,
      outlierDetection: null,
      proxyProtocol: null,
      tunnel: null,
      connectTimeoutMs: 1000,
      source,
    }
  })
  return {
    version: 'test',
    settings: settings(options),
    listeners: (options.servers ?? []).map((tls, index) => ({
      gatewayPort: 8000 + index,
      bindPort: 0,
      servers: [
        {
          name: `test/server-${index}`,
          source,
          sniHosts: ['*'],
          application: 'http',
          tls,
          routeTable: 'test',
          tunnelTable: null,
        },
      ],
    })),
    policies: [],
    tokenRules: [],
    limits: [],
    routeTables: [],
    tunnelTables: [],
    authorizer: null,
    registry: [],
    clusters,
    tracing: null,
    telemetry: { accessLogs: [], metrics: [] },
  }
}

function settings(options: IdentityModelOptions): Settings {
  const loopback = { address: '127.0.0.1', port: 0 }
  return {
    name: 'istio-egressgateway',
    namespace: 'istio-system',
    labels: {},
    mesh: {
      rootNamespace: 'istio-system',
      trustDomain: options.trustDomain ?? 'cluster.local',
      trustDomainAliases: options.trustDomainAliases ?? [],
      outboundTrafficPolicy: 'REGISTRY_ONLY',
      accessLogFile: '',
      accessLogEncoding: 'JSON',
      accessLogFormat: '',
      pathNormalization: 'BASE',
      connectTimeoutMs: 1000,
      extensionProviders: [],
      defaultProviders: { accessLogging: [], metrics: ['prometheus'], tracing: [] },
      enableTracing: true,
      defaultTracing: { sampling: null, customTags: [], enableIstioTags: null },
    },
    identity: options.identity ?? { certificateChain: '', privateKey: '', trustBundle: '' },
    secretsDirectory: options.secretsDirectory ?? '/nonexistent',
    stateDirectory: null,
    bindAddress: '127.0.0.1',
    unauthenticatedPassthrough: 'deny',
    ports: [],
    drainDurationMs: 0,
    admin: loopback,
    metrics: loopback,
    health: loopback,
    accessLog: { jsonStyle: 'typed' },
    tracing: { propagate: true },
    audit: null,
    tunnels: { idleTimeoutMs: 3_600_000, maxDurationMs: 0 },
    dns: { servers: [], minTtlMs: 1000, maxTtlMs: 300_000, staleForMs: 600_000 },
    addressGuard: { allow: [] },
    http: {
      engine: 'http-proxy',
      maxHeaderBytes: 61_440,
      maxHeaders: 100,
      headersTimeoutMs: 10_000,
      idleTimeoutMs: 3_600_000,
      maxConnections: 0,
    },
    redis: null,
  }
}
