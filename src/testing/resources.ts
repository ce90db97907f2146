/** Resources and settings for tests of config/: specs as literals, positions that name their own path. */
import { type Collector, collectDiagnostics } from '../config/report.ts'
import type { KindModule, Resource } from '../config/resource.ts'
import type { Settings } from '../model/settings.ts'

export type TestMetadata = {
  readonly namespace?: string
  readonly name: string
  readonly labels?: Readonly<Record<string, string>>
}

/**
 * A resource as the reader would hand it on: `spec` goes through the module's schema (which throws on bad structure).
 * Its positions are `KIND/NAMESPACE/NAME:the.path`, so that a test sees where a finding points.
 */
export function testResource<Spec>(module: KindModule<Spec>, metadata: TestMetadata, spec: unknown): Resource<Spec> {
  const { namespace = 'default', name, labels = {} } = metadata
  const apiVersion = [module.group, module.versions[0]].filter((part) => part !== '').join('/')
  return {
    apiVersion,
    kind: module.kind,
    namespace,
    name,
    labels,
    annotations: {},
    spec: module.schema.parse(spec),
    at: (...path) => ({ file: `${module.kind}/${namespace}/${name}:${path.join('.')}`, line: 1, col: 1 }),
  }
}

/** `CODE file` of everything reported, in file order. */
export function findings({ sorted }: Collector): string[] {
  return sorted().map(({ code, file }) => `${code} ${file}`)
}

/** What the module's own check finds in a spec: `CODE path`, the path within the document. */
export function checkFindings<Spec>(module: KindModule<Spec>, spec: unknown): string[] {
  const collector = collectDiagnostics()
  module.check?.(testResource(module, { name: 'x' }, spec), collector.report)
  return collector.sorted().map(({ code, file }) => `${code} ${file.slice(file.indexOf(':') + 1)}`)
}

/** Defaults of contract §2 for the gateway of the seeds. */
export function testSettings(overrides: Partial<Settings> = {}): Settings {
  return {
    name: 'istio-egressgateway',
    namespace: 'istio-system',
    labels: { istio: 'egressgateway', app: 'istio-egressgateway' },
    mesh: {
      rootNamespace: 'istio-system',
      trustDomain: 'cluster.local',
      trustDomainAliases: [],
      outboundTrafficPolicy: 'REGISTRY_ONLY',
      accessLogFile: '',
      accessLogEncoding: 'JSON',
      accessLogFormat: '',
      pathNormalization: 'BASE',
      connectTimeoutMs: 10_000,
      extensionProviders: [],
      defaultProviders: { accessLogging: [], metrics: ['prometheus'], tracing: [] },
      enableTracing: true,
      defaultTracing: { sampling: null, customTags: [], enableIstioTags: null },
    },
    identity: { certificateChain: '/c.pem', privateKey: '/k.pem', trustBundle: '/r.pem' },
    secretsDirectory: '/secrets',
    stateDirectory: null,
    bindAddress: '127.0.0.1',
    unauthenticatedPassthrough: 'deny',
    ports: [],
    drainDurationMs: 30_000,
    admin: { address: '127.0.0.1', port: 0 },
    metrics: { address: '127.0.0.1', port: 0 },
    health: { address: '127.0.0.1', port: 0 },
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
    ...overrides,
  }
}
