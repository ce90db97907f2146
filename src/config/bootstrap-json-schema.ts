/**
 * config/egress-gateway.schema.json: the bootstrap's schema for editors (`# yaml-language-server: $schema=…`), written from
 * the very schema that the program checks with; `npm run docs` updates it, test/docs.test.ts compares it. It describes the
 * canonical form: a quoted integer or a numeric enum, which the program reads as protobuf-JSON does, an editor marks.
 */
import { z } from 'zod'
import { BOOTSTRAP } from './bootstrap-schema.ts'
import { UNBUILT_FIELDS } from './unbuilt-fields.ts'

const GO_DURATION =
  '^(0|([0-9]+(\\.[0-9]*)?|\\.[0-9]+)(ns|us|µs|ms|s|m|h)(([0-9]+(\\.[0-9]*)?|\\.[0-9]+)(ns|us|µs|ms|s|m|h))*)$'

/** TABLE: what an editor shows for a field. Below `spec` unless it begins with `metadata`; every field has a row. */
export const DESCRIPTIONS: Readonly<Record<string, string>> = {
  metadata: 'Who this gateway is: selectors of Gateways and policies are matched against it.',
  'metadata.name': 'What byEgressGateway.name of an ASMEgressTrafficPolicy refers to.',
  'metadata.namespace': 'The namespace of the gateway; resources without one belong to it.',
  'metadata.labels': 'Labels of the gateway’s pods: what selectors of Gateways and policies match.',
  spec: 'How this gateway runs. Every field has a default.',
  resources:
    'Files or directories with mesh resources, relative to this file; read recursively: *.yaml, *.yml, *.json.',
  meshConfig: 'Fields of Istio’s MeshConfig, by the same names. A change applies at the next reload.',
  'meshConfig.rootNamespace': 'Policies in this namespace apply to every gateway.',
  'meshConfig.trustDomain': 'The SPIFFE trust domain that identity.trustBundle vouches for.',
  'meshConfig.trustDomainAliases': 'Former names of the trust domain.',
  'meshConfig.outboundTrafficPolicy': 'What happens to hosts that nobody registered.',
  'meshConfig.outboundTrafficPolicy.mode':
    'REGISTRY_ONLY refuses them (502). ALLOW_ANY dials them, through the address guard.',
  'meshConfig.accessLogFile': 'Where access-log lines go; "" turns the log off.',
  'meshConfig.accessLogEncoding': 'JSON or TEXT.',
  'meshConfig.accessLogFormat':
    'Envoy command operators; a JSON object when the encoding is JSON. "" is the default format.',
  'meshConfig.pathNormalization': 'What is done to a path before policy sees it.',
  'meshConfig.pathNormalization.normalization': 'As Istio’s field of the same name.',
  'meshConfig.connectTimeout': 'Longest time for a connection to the outside, where no DestinationRule says otherwise.',
  'meshConfig.extensionProviders': 'Services and files that policies and Telemetry name, as in Istio.',
  'meshConfig.defaultProviders': 'Providers that hold where Telemetry names none.',
  'meshConfig.defaultProviders.accessLogging': 'Where access-log lines go. Empty: to accessLogFile.',
  'meshConfig.defaultProviders.metrics': 'prometheus: Istio’s metrics are reported. Empty: they are not.',
  'meshConfig.defaultProviders.tracing': 'Who gets spans; the first. Empty: nobody.',
  'meshConfig.enableTracing': 'false: no request has a span, whoever asks for it.',
  'meshConfig.defaultConfig': 'Of Istio’s ProxyConfig, what holds for a gateway.',
  'meshConfig.defaultConfig.tracing': 'What spans are, where Telemetry does not say.',
  'meshConfig.defaultConfig.tracing.sampling': 'Percentage of the requests whose caller has not decided. Null: 1.',
  'meshConfig.defaultConfig.tracing.customTags': 'On every span: name → literal, environment or header.',
  'meshConfig.defaultConfig.tracing.enableIstioTags': 'istio.* on every span. Null: yes.',
  identity: 'The gateway’s own SVID and the mesh’s trust bundle. The files are watched.',
  'identity.certificateChain': 'PEM file: the SVID and its intermediates.',
  'identity.privateKey': 'PEM file: its private key.',
  'identity.trustBundle': 'PEM file: vouches for meshConfig.trustDomain and its aliases, for no other domain.',
  'identity.trustBundles': 'Federation: other trust domain → PEM file.',
  'identity.crl': 'PEM file with revocation lists.',
  secretsDirectory: 'credentialName NAME is read from NAME/{tls.crt,tls.key,ca.crt} below it.',
  bindAddress: 'The address of the gateway’s own ports.',
  unauthenticatedPassthrough:
    'Whether an ASM `to` of protocol HTTPS or TLS also takes callers without mTLS, on the word of their SNI.',
  ports:
    'Gateway port → port really bound. A Gateway port that is absent is bound as it is; 0 picks a free one. Needs a restart.',
  concurrency: 'Worker processes; 0 is one per available core. Needs a restart.',
  stateDirectory: 'Where local budgets are kept over restarts; a directory of this process alone. Needs a restart.',
  drainDuration: 'How long connections may run on after SIGTERM.',
  admin: 'The admin server. It has no login: keep it on loopback. Needs a restart.',
  'admin.address': 'Its address.',
  'admin.port': 'Its port.',
  metrics: 'The server that Prometheus scrapes, at /stats/prometheus. Needs a restart.',
  'metrics.address': 'Its address.',
  'metrics.port': 'Its port.',
  health: 'The server that answers readiness probes, at /healthz/ready. Needs a restart.',
  'health.address': 'Its address.',
  'health.port': 'Its port.',
  accessLog: 'The access log, beyond what meshConfig says.',
  'accessLog.jsonStyle':
    'Of every JSON log: typed values, with null for missing ones; or strings, "-" for missing ones, as in older Istio.',
  tracing: 'Trace headers at the border.',
  'tracing.propagate': 'false: trace headers stop at the border.',
  audit: 'A second stream: every refusal and every change of policy, written at once, never dropped. Needs a restart.',
  'audit.path': '/dev/stdout or a file.',
  tunnels: 'Connections that carry the application’s own TLS, or bytes.',
  'tunnels.idleTimeout': 'Closed after this long without a byte either way; 0s: never.',
  'tunnels.maxDuration': 'Closed after this long in any case; 0s: never.',
  dns: 'How names outside are resolved.',
  'dns.servers': 'IP addresses, with a port as 10.0.0.53:53; empty: those of the system.',
  'dns.minTtl': 'An answer is kept at least this long.',
  'dns.maxTtl': 'An answer is kept at most this long.',
  'dns.staleFor': 'How long the last good answer serves when DNS fails.',
  addressGuard: 'Refuses names outside that resolve to addresses inside.',
  'addressGuard.allow': 'CIDRs that may be dialled although private, loopback, link-local …',
  http: 'How HTTP is carried.',
  'http.engine': 'Who carries HTTP/1.1. Needs a restart.',
  'http.limits': 'What a caller may ask of the gateway.',
  'http.limits.maxHeaderBytes': 'All header lines of a request together.',
  'http.limits.maxHeaders': 'Header lines of a request.',
  'http.limits.headersTimeout': 'A request’s head must be complete after this long.',
  'http.limits.idleTimeout': 'A connection without a request is closed after this long.',
  'http.limits.maxConnections': 'Connections at a time; 0: as many as the system allows.',
  redis:
    'The Redis through which several gateways share limits and blocks: exactly one of url, sentinel, cluster. Not subject to the address guard. Needs a restart.',
  'redis.url': 'redis://HOST:PORT/DB, or rediss:// for TLS. A password belongs into passwordFile.',
  'redis.sentinel': 'Sentinels that know where the primary is.',
  'redis.sentinel.master': 'What they call it.',
  'redis.sentinel.nodes': 'HOST:PORT of the Sentinels; 26379 where no port is given.',
  'redis.sentinel.username': 'User of the Sentinels themselves.',
  'redis.sentinel.passwordFile': 'Its password.',
  'redis.cluster': 'A Redis Cluster.',
  'redis.cluster.nodes': 'HOST:PORT of some of its nodes; 6379 where no port is given.',
  'redis.db': 'Number of the database; 0 in a Cluster.',
  'redis.username': 'ACL user.',
  'redis.passwordFile': 'Read again at every connection: a new password needs no restart.',
  'redis.tls': 'Of a rediss:// url; with sentinel or cluster, {} turns TLS on.',
  'redis.tls.ca': 'PEM file; left out: the system’s authorities.',
  'redis.tls.cert': 'PEM file: client certificate.',
  'redis.tls.key': 'PEM file: its private key.',
  'redis.tls.serverName': 'The name to verify, where it is not the host’s.',
  'redis.keyPrefix': 'Every key and channel begins with it.',
  'redis.timeout': 'How long a decision waits for Redis; then onStoreFailure holds.',
  'redis.connectTimeout': 'Longest time for a connection to it.',
  'redis.breaker': 'When nobody waits for Redis any more.',
  'redis.breaker.failures': 'Unanswered questions in a row after which nobody waits. A lost connection counts at once.',
  'redis.breaker.probeInterval': 'How often it is then asked whether it is back.',
  'redis.leases': 'What a gateway takes of a busy count in advance, to use without asking.',
  'redis.leases.max': 'Units at most; 1: none in advance.',
  'redis.leases.share': 'Per cent of the limit’s burst at most.',
  'redis.leases.ttl': 'What is not used by then is given back.',
}

/** The whole file as text. */
export function bootstrapJsonSchema(): string {
  const schema = z.toJSONSchema(BOOTSTRAP, {
    target: 'draft-7',
    io: 'input',
    // Of a field that is not built yet the program only says that it is not.
    unrepresentable: 'any',
    override: ({ zodSchema, jsonSchema, path }) => {
      const inner = unwrapped(zodSchema)
      if (inner._zod.def.type === 'object') jsonSchema.additionalProperties = false
      if (isDuration(inner)) jsonSchema.pattern = GO_DURATION
      const { def } = zodSchema._zod
      if (def.type === 'default')
        jsonSchema.default = (def as z.core.$ZodDefaultDef).defaultValue as z.core.JSONSchema._JSONSchema
      // Stands for "not given"; written down it would be refused.
      if (jsonSchema.default === '' && jsonSchema.minLength !== undefined) delete jsonSchema.default
      const description = descriptionOf(fieldOf(path))
      if (description !== null) jsonSchema.description = description
    },
  })
  const { properties, ...rest } = schema
  const document = {
    $schema: rest.$schema,
    title: 'Sallyport EgressGateway',
    description:
      'The bootstrap file of `sallyport run -f`. Written by `npm run docs` from src/config/bootstrap-schema.ts. Do not edit.',
    ...rest,
    properties: {
      ...properties,
      apiVersion: { const: 'sallyport.dev/v1' },
      kind: { const: 'EgressGateway' },
    },
  }
  return `${JSON.stringify(document, null, 2)}\n`
}

/** Without the wrappers that say what an absent value becomes. */
function unwrapped(schema: z.core.$ZodType): z.core.$ZodType {
  const { def } = schema._zod
  return 'innerType' in def ? unwrapped(def.innerType as z.core.$ZodType) : schema
}

/** `duration` of schema.ts: a string, then made milliseconds. */
function isDuration(schema: z.core.$ZodType): boolean {
  const def = schema._zod.def as z.core.$ZodPipeDef
  return def.type === 'pipe' && def.in._zod.def.type === 'string' && def.out._zod.def.type === 'transform'
}

/** `properties, spec, properties, dns` → `dns`; null for what is no field (list items, keys of maps). */
function fieldOf(path: readonly (string | number)[]): string | null {
  const names = path.filter((_, index) => index % 2 === 1)
  const isField = path.length > 0 && path.every((step, index) => index % 2 === 1 || step === 'properties')
  if (!isField) return null
  return names.length > 1 && names[0] === 'spec' ? names.slice(1).join('.') : names.join('.')
}

function descriptionOf(field: string | null): string | null {
  const text = field === null ? undefined : DESCRIPTIONS[field]
  if (text === undefined) return null
  const unbuilt = UNBUILT_FIELDS.find((each) => each.field === field)
  return unbuilt === undefined ? text : `${text} Restricted for now: ${unbuilt.why}; ${unbuilt.fix}.`
}
