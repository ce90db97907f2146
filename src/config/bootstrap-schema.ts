/** Schema of the bootstrap file (contract §2): closed, with every default written once. */
import { isIP } from 'node:net'
import { z } from 'zod'
import { CUSTOM_TAGS } from './custom-tags.ts'
import { EXTENSION_PROVIDER } from './extension-providers.ts'
import { REDIS } from './redis.ts'
import { bool, duration, enumeration, float, int, stringMap, text } from './schema.ts'

/** Node's timers hold 31 bits of milliseconds; a longer one would fire at once. */
const MAX_TIMER_MS = 2 ** 31 - 1

const TOO_LONG = 'must be at most 596h (24.8 days)'
const time = duration.refine((ms) => ms <= MAX_TIMER_MS, TOO_LONG)
const positiveTime = time.refine((ms) => ms > 0, 'must be longer than 0')

const filePath = text.min(1)
const ip = text.refine((value) => isIP(value) !== 0, 'must be an IP address')
const endpoint = (address: string, port: number) =>
  z.object({ address: ip.default(address), port: int(0, 65535).default(port) }).prefault({})

/** `10.0.0.0/8`, `fd00::/8`, or one address. */
function isCidr(value: string): boolean {
  const [address = '', bits, ...rest] = value.split('/')
  const version = isIP(address)
  if (version === 0 || rest.length > 0 || address.includes('%')) return false
  return bits === undefined || (/^(?:0|[1-9]\d{0,2})$/.test(bits) && Number(bits) <= (version === 4 ? 32 : 128))
}

/** `10.0.0.53`, `10.0.0.53:5353`, `fd00::53`, `[fd00::53]:5353`: what node:dns' setServers takes. */
function isDnsServer(value: string): boolean {
  if (isIP(value) !== 0) return true
  const match = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d{1,5}))?$/.exec(value)
  if (match === null) return false
  const [, v6, v4, port] = match
  const known = v6 === undefined ? isIP(v4 ?? '') === 4 : isIP(v6) === 6
  return known && (port === undefined || (Number(port) >= 1 && Number(port) <= 65535))
}

/** SPIFFE trust domain, SPIFFE-ID §2.1: lower case letters, digits, dots, dashes, underscores; at most 255 bytes. */
const trustDomain = text
  .max(255)
  .regex(/^[a-z0-9._-]+$/, 'must be a SPIFFE trust domain: lower-case letters, digits, dots, dashes, underscores')

const dnsLabel = text.max(63).regex(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/, 'must be a Kubernetes namespace')

/** Fields whose feature is not built yet hold anything here; bootstrap.ts refuses them by name. */
const unbuilt = z.unknown().optional()

const BOOTSTRAP_METADATA = z.object({
  name: text.max(253).regex(/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/, 'must be a Kubernetes name'),
  namespace: dnsLabel,
  labels: stringMap.default({}),
})

const providerNames = z.array(text.min(1))

const meshConfig = z.object({
  rootNamespace: dnsLabel.default('istio-system'),
  trustDomain: trustDomain.default('cluster.local'),
  trustDomainAliases: z.array(trustDomain).default([]),
  outboundTrafficPolicy: z
    .object({ mode: enumeration(['REGISTRY_ONLY', 'ALLOW_ANY']).default('REGISTRY_ONLY') })
    .prefault({}),
  accessLogFile: text.default('/dev/stdout'),
  // Istio's numbers: 0 is TEXT.
  accessLogEncoding: enumeration(['TEXT', 'JSON']).default('JSON'),
  accessLogFormat: text.default(''),
  pathNormalization: z
    .object({
      normalization: z.enum(['NONE', 'BASE', 'MERGE_SLASHES', 'DECODE_AND_MERGE_SLASHES']).default('BASE'),
    })
    .prefault({}),
  connectTimeout: positiveTime.prefault('10s'),
  extensionProviders: z.array(EXTENSION_PROVIDER).default([]),
  defaultProviders: z
    .object({
      accessLogging: providerNames.default([]),
      metrics: providerNames.default(['prometheus']),
      tracing: providerNames.default([]),
    })
    .prefault({}),
  enableTracing: bool.default(true),
  defaultConfig: z
    .object({
      tracing: z
        .object({
          sampling: float(0, 100).nullable().default(null),
          customTags: CUSTOM_TAGS.default({}),
          enableIstioTags: bool.nullable().default(null),
        })
        .prefault({}),
    })
    .prefault({}),
})

const BOOTSTRAP_SPEC = z.object({
  resources: z.array(filePath).default([]),
  meshConfig: meshConfig.prefault({}),
  // Empty by default (contract §2): a gateway of plaintext servers needs none, any other is told by the credentials loader.
  identity: z
    .object({
      certificateChain: filePath.default(''),
      privateKey: filePath.default(''),
      trustBundle: filePath.default(''),
      trustBundles: unbuilt,
      crl: unbuilt,
    })
    .prefault({}),
  secretsDirectory: filePath.default('/etc/sallyport/secrets'),
  // Where local budgets are kept; absent: nothing is.
  stateDirectory: filePath.nullable().default(null),
  bindAddress: ip.default('0.0.0.0'),
  unauthenticatedPassthrough: z.enum(['deny', 'allow']).default('deny'),
  ports: z.record(z.string().regex(/^[1-9]\d{0,4}$/, 'must be a port number'), int(0, 65535)).default({}),
  concurrency: int(0, 1024).default(1),
  drainDuration: time.prefault('30s'),
  admin: endpoint('127.0.0.1', 15000),
  metrics: endpoint('0.0.0.0', 15090),
  health: endpoint('0.0.0.0', 15021),
  accessLog: z.object({ jsonStyle: z.enum(['typed', 'strings']).default('typed') }).prefault({}),
  tracing: z.object({ propagate: bool.default(true) }).prefault({}),
  audit: z.object({ path: text.default('') }).optional(),
  tunnels: z.object({ idleTimeout: time.prefault('1h'), maxDuration: time.prefault('0s') }).prefault({}),
  dns: z
    .object({
      servers: z
        .array(text.refine(isDnsServer, 'must be an IP address, with a port as 10.0.0.53:53 or [fd00::53]:53'))
        .default([]),
      minTtl: time.prefault('1s'),
      maxTtl: time.prefault('5m'),
      staleFor: time.prefault('10m'),
    })
    .prefault({}),
  addressGuard: z
    .object({ allow: z.array(text.refine(isCidr, 'must be a CIDR, as 10.0.0.0/8 or fd00::/8')).default([]) })
    .prefault({}),
  http: z
    .object({
      engine: z.enum(['wire', 'http-proxy']).default('wire'),
      limits: z
        .object({
          maxHeaderBytes: int(1024, 1_048_576).default(61_440),
          maxHeaders: int(1, 10_000).default(100),
          headersTimeout: positiveTime.prefault('10s'),
          idleTimeout: positiveTime.prefault('1h'),
          maxConnections: int(0, 1_000_000).default(0),
        })
        .prefault({}),
    })
    .prefault({}),
  redis: REDIS.optional(),
})

export type BootstrapSpec = z.infer<typeof BOOTSTRAP_SPEC>

/** Below `metadata` Kubernetes' fields; here only what the gateway uses. */
export const BOOTSTRAP = z.object({
  apiVersion: text,
  kind: text,
  metadata: BOOTSTRAP_METADATA,
  spec: BOOTSTRAP_SPEC,
})
