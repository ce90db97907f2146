/** The bootstrap file → Settings. Every field is effective or refused by name; none is silently inert (contract §2). */
import path from 'node:path'
import type { SourceRef } from '../core/attributes.ts'
import type { ExtensionProvider } from '../model/extension-providers.ts'
import type { RedisSettings } from '../model/redis.ts'
import type { Settings } from '../model/settings.ts'
import { BOOTSTRAP, type BootstrapSpec } from './bootstrap-schema.ts'
import { canonicalise } from './canonical.ts'
import { tagsOf } from './custom-tags.ts'
import { DIAGNOSTICS } from './diagnostics.ts'
import { lowerProviders } from './extension-providers.ts'
import { checkFileLogs } from './file-log-provider.ts'
import { type Display, readText, top } from './files.ts'
import { reportIssues } from './issues.ts'
import { locator } from './position.ts'
import { lowerRedis } from './redis.ts'
import type { Report, Resource } from './resource.ts'
import { adviseOnTracing } from './telemetry-tracing.ts'
import { UNBUILT_FIELDS } from './unbuilt-fields.ts'
import { parseYaml } from './yaml.ts'

/** Says what is wrong with an access-log format, null when nothing is. observe/access-log owns the operators. */
export type CheckAccessLogFormat = (encoding: 'JSON' | 'TEXT', format: string) => string | null

export type BootstrapOptions = {
  readonly display: Display
  readonly checkAccessLogFormat?: CheckAccessLogFormat | undefined
}

export type Bootstrap = {
  /** null: the file has errors. */
  readonly settings: Settings | null
  /** Absolute; known also when the file has other errors, so that one run can judge the resources too. */
  readonly resourcePaths: readonly string[]
  /** Where each of them is written down. */
  readonly resourcePathAt: (index: number) => SourceRef | null
  readonly namespace: string
}

type At = Resource['at']

/** Reads a bootstrap file (absolute path). Never throws on content. */
export function readBootstrap(file: string, options: BootstrapOptions, report: Report): Bootstrap {
  let failed = false
  const watched: Report = (code, at, message, extra) => {
    if ((extra?.severity ?? DIAGNOSTICS[code].severity) === 'error') failed = true
    report(code, at, message, extra)
  }
  const nothing: Bootstrap = {
    settings: null,
    resourcePaths: [],
    resourcePathAt: () => null,
    namespace: 'istio-system',
  }
  const name = options.display(file)
  const source = readText(file, options.display, watched)
  if (source === null) return nothing
  const [document, ...more] = parseYaml(source, name, watched)
  if (document === undefined || document.root.kind !== 'map') {
    const at = document === undefined ? top(name) : document.locate(document.root.at)
    if (!failed) report('SP1040', at, 'the bootstrap file holds no EgressGateway')
    return nothing
  }
  for (const extra of more) {
    const message = 'the bootstrap is one document; put resources into files of their own'
    watched('SP1040', extra.locate(extra.root.at), message)
  }
  const { locate, root } = document
  const walk = { unknownKeys: 'error', snakeCase: false, nulls: 'absent' } as const
  const { value, positions } = canonicalise(BOOTSTRAP, root, [], walk, watched, locate)
  const at = locator(positions, locate)
  const written = value as Readonly<Record<string, unknown>>
  checkHeader(written, at, watched)
  let parsed = BOOTSTRAP.safeParse(value)
  if (!parsed.success) {
    reportIssues(parsed.error.issues, value, [], positions, locate, watched)
    // The rest is judged all the same, with defaults where the file is wrong: one run finds everything.
    parsed = BOOTSTRAP.safeParse(repaired(written, parsed.error.issues))
    if (!parsed.success) return nothing
  }
  const { metadata, spec } = parsed.data
  refuseUnbuilt(spec, at, watched)
  checkPorts(spec, at, watched)
  checkMeaning(spec, at, watched, options.checkAccessLogFormat)
  const providersAt: At = (...path) => at('spec', 'meshConfig', 'extensionProviders', ...path)
  const providers = lowerProviders(spec.meshConfig.extensionProviders, providersAt, watched)
  if (options.checkAccessLogFormat !== undefined)
    checkFileLogs(spec.meshConfig.extensionProviders, providersAt, watched, options.checkAccessLogFormat)
  adviseOnTracing(spec, providers, at, watched)
  const resolve = (given: string) => path.resolve(path.dirname(file), given)
  const redis = lowerRedis(spec.redis, (...path) => at('spec', 'redis', ...path), watched, resolve)
  const settings = failed ? null : settingsOf(metadata, spec, providers, redis, resolve)
  return {
    settings,
    resourcePaths: spec.resources.map(resolve),
    resourcePathAt: (index) => at('spec', 'resources', index),
    namespace: metadata.namespace,
  }
}

/** The file without its wrong values, and with something where a required one is missing. Only ever judged, never used. */
function repaired(
  written: Readonly<Record<string, unknown>>,
  issues: readonly { readonly path: PropertyKey[] }[],
): unknown {
  const copy = structuredClone(written) as Record<string, unknown>
  for (const issue of issues) {
    let parent: unknown = copy
    for (const step of issue.path.slice(0, -1)) parent = (parent as Record<PropertyKey, unknown> | undefined)?.[step]
    const last = issue.path.at(-1)
    if (typeof parent !== 'object' || parent === null || last === undefined) continue
    // The end of a list is cut off with its wrong item, so that the other indexes stay true.
    if (Array.isArray(parent)) parent.length = Math.min(parent.length, Number(last))
    else Reflect.deleteProperty(parent, last)
  }
  const spec = (copy['spec'] ?? {}) as object
  return {
    apiVersion: '',
    kind: '',
    ...copy,
    metadata: { name: 'x', namespace: 'istio-system', ...(copy['metadata'] as object | undefined) },
    spec,
  }
}

function checkHeader(written: Readonly<Record<string, unknown>>, at: At, report: Report): void {
  const expected = { apiVersion: 'sallyport.dev/v1', kind: 'EgressGateway' }
  for (const [key, value] of Object.entries(expected)) {
    const found = written[key]
    if (typeof found === 'string' && found !== value) {
      report('SP1040', at(key), `${key} is ${JSON.stringify(found)}`, { fix: `write ${key}: ${value}` })
    }
  }
}

/** Contract §2: a field whose feature is not built yet is refused by name, unless it says what holds anyway. */
function refuseUnbuilt(spec: BootstrapSpec, at: At, report: Report): void {
  for (const { field, holdsAnyway, why, fix } of UNBUILT_FIELDS)
    if (!holdsAnyway(spec)) report('SP1041', at('spec', ...field.split('.')), `spec.${field}: ${why}`, { fix })
}

function checkPorts(spec: BootstrapSpec, at: At, report: Report): void {
  const ANY = ['0.0.0.0', '::']
  const taken: { address: string; port: number; what: string }[] = []
  const claim = (address: string, port: number, what: string, ...where: string[]) => {
    const other = taken.find(
      (each) => each.port === port && (each.address === address || ANY.includes(each.address) || ANY.includes(address)),
    )
    if (port === 0) return
    if (other === undefined) taken.push({ address, port, what })
    else report('SP1042', at('spec', ...where), `${what} and ${other.what} are both bound to port ${port}`)
  }
  for (const [gatewayPort, bindPort] of Object.entries(spec.ports)) {
    if (Number(gatewayPort) > 65535)
      report('SP1000', at('spec', 'ports', gatewayPort), `${gatewayPort} is not a port number`)
    claim(spec.bindAddress, bindPort, `Gateway port ${gatewayPort}`, 'ports', gatewayPort)
  }
  for (const name of ['admin', 'metrics', 'health'] as const) {
    claim(spec[name].address, spec[name].port, `the ${name} server`, name, 'port')
  }
  const { address } = spec.admin
  if (!address.startsWith('127.') && address !== '::1')
    report('SP1043', at('spec', 'admin', 'address'), `the admin server has no login, and ${address} is not loopback`, {
      fix: 'write 127.0.0.1 or leave it out',
    })
}

function checkMeaning(spec: BootstrapSpec, at: At, report: Report, checkFormat?: CheckAccessLogFormat): void {
  const { dns, meshConfig } = spec
  if (dns.minTtl > dns.maxTtl) report('SP1000', at('spec', 'dns', 'minTtl'), 'spec.dns.minTtl is longer than maxTtl')
  meshConfig.trustDomainAliases.forEach((alias, index) => {
    if (alias !== meshConfig.trustDomain) return
    report('SP1000', at('spec', 'meshConfig', 'trustDomainAliases', index), 'the trust domain is no alias of itself')
  })
  const { accessLogEncoding: encoding, accessLogFile: file, accessLogFormat: format } = meshConfig
  if (spec.audit?.path === '') report('SP1033', at('spec', 'audit'), 'spec.audit.path is required')
  // The operational log has stderr to itself: a line of one must not stand within a line of the other.
  else if (spec.audit?.path === '/dev/stderr')
    report('SP1000', at('spec', 'audit', 'path'), 'spec.audit.path must be /dev/stdout or a file')
  else if (spec.audit?.path === file && file !== '/dev/stdout')
    report('SP8503', at('spec', 'audit', 'path'), `${file} is the access log already`, {
      fix: 'write a file of its own',
    })
  if (format === '') return
  // Istio falls back to the default format here; a log that is not what was asked for is not acceptable in an audit.
  const problem = (encoding === 'JSON' ? notAnObject(format) : null) ?? checkFormat?.(encoding, format) ?? null
  if (problem !== null) {
    report('SP1000', at('spec', 'meshConfig', 'accessLogFormat'), `spec.meshConfig.accessLogFormat: ${problem}`)
  }
}

function notAnObject(format: string): string | null {
  let value: unknown = null
  try {
    value = JSON.parse(format)
  } catch {}
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value)
  return isObject ? null : 'must be the text of a JSON object, because accessLogEncoding is JSON'
}

function settingsOf(
  metadata: { readonly name: string; readonly namespace: string; readonly labels: Readonly<Record<string, string>> },
  spec: BootstrapSpec,
  extensionProviders: readonly ExtensionProvider[],
  redis: RedisSettings | null,
  resolve: (given: string) => string,
): Settings {
  const { meshConfig: mesh, identity, dns, http } = spec
  const unlessEmpty = (given: string) => (given === '' ? '' : resolve(given))
  return {
    name: metadata.name,
    namespace: metadata.namespace,
    labels: metadata.labels,
    mesh: {
      rootNamespace: mesh.rootNamespace,
      trustDomain: mesh.trustDomain,
      trustDomainAliases: mesh.trustDomainAliases,
      outboundTrafficPolicy: mesh.outboundTrafficPolicy.mode,
      accessLogFile: unlessEmpty(mesh.accessLogFile),
      accessLogEncoding: mesh.accessLogEncoding,
      accessLogFormat: mesh.accessLogFormat,
      pathNormalization: mesh.pathNormalization.normalization,
      connectTimeoutMs: mesh.connectTimeout,
      extensionProviders,
      defaultProviders: mesh.defaultProviders,
      enableTracing: mesh.enableTracing,
      defaultTracing: { ...mesh.defaultConfig.tracing, customTags: tagsOf(mesh.defaultConfig.tracing.customTags) },
    },
    identity: {
      certificateChain: unlessEmpty(identity.certificateChain),
      privateKey: unlessEmpty(identity.privateKey),
      trustBundle: unlessEmpty(identity.trustBundle),
    },
    secretsDirectory: resolve(spec.secretsDirectory),
    stateDirectory: spec.stateDirectory === null ? null : resolve(spec.stateDirectory),
    bindAddress: spec.bindAddress,
    unauthenticatedPassthrough: spec.unauthenticatedPassthrough,
    ports: Object.entries(spec.ports).map(([port, bindPort]) => ({ gatewayPort: Number(port), bindPort })),
    drainDurationMs: spec.drainDuration,
    admin: spec.admin,
    metrics: spec.metrics,
    health: spec.health,
    accessLog: spec.accessLog,
    tracing: spec.tracing,
    audit: spec.audit === undefined ? null : { path: resolve(spec.audit.path) },
    tunnels: { idleTimeoutMs: spec.tunnels.idleTimeout, maxDurationMs: spec.tunnels.maxDuration },
    dns: { servers: dns.servers, minTtlMs: dns.minTtl, maxTtlMs: dns.maxTtl, staleForMs: dns.staleFor },
    addressGuard: spec.addressGuard,
    http: {
      engine: http.engine,
      maxHeaderBytes: http.limits.maxHeaderBytes,
      maxHeaders: http.limits.maxHeaders,
      headersTimeoutMs: http.limits.headersTimeout,
      idleTimeoutMs: http.limits.idleTimeout,
      maxConnections: http.limits.maxConnections,
    },
    redis,
  }
}
