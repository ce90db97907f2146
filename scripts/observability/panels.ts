/**
 * TABLE of what the Grafana dashboard shows, row by row. `$S` in an expression stands for the selector of the gateways that
 * were chosen: names of Istio and Envoy are exported by every sidecar too, and those must not be counted here.
 */

type Query = {
  /** PromQL, with Grafana's `$__rate_interval` and `$__range`. */
  readonly expr: string
  readonly legend: string
}

export type Panel = {
  readonly title: string
  /** What to think when it moves. */
  readonly description?: string
  /** `table`: one line per series, as of now. */
  readonly kind: 'stat' | 'timeseries' | 'table'
  /** Grafana's name of the unit. */
  readonly unit: string
  /** Of 24. */
  readonly width: number
  readonly queries: readonly Query[]
  /** Red from here on; green below. */
  readonly alarm?: number
  /** Red below this; green from here on. */
  readonly floor?: number
}

const SELECTOR = 'job=~"$job",instance=~"$instance"'
const query = (expr: string, legend = ''): Query => ({ expr: expr.replaceAll('$S', SELECTOR), legend })
const rate = (series: string) => `rate(${series}[$__rate_interval])`
const sum = (by: string, series: string) => (by === '' ? `sum(${rate(series)})` : `sum by (${by}) (${rate(series)})`)
/** Without `BlackHoleCluster`: that 502 is the gateway's own no, not a site's failure. */
const ANSWERED = 'istio_requests_total{$S,destination_service!="BlackHoleCluster"}'
const FAILED = 'istio_requests_total{$S,destination_service!="BlackHoleCluster",response_code=~"5.."}'
const CHOSEN = 'sallyport_requests_total{$S,source_principal=~"$principal",destination_host=~"$host"}'
const duration = (quantile: number) =>
  query(
    `histogram_quantile(${quantile}, sum by (le) (${rate('istio_request_duration_milliseconds_bucket{$S}')}))`,
    `p${quantile * 100}`,
  )
const byCluster = (stat: string, legend: string) =>
  query(sum('cluster_name', `envoy_cluster_${stat}{$S}`), `${legend} {{cluster_name}}`)
const gaugeByCluster = (stat: string, legend: string) =>
  query(`sum by (cluster_name) (envoy_cluster_${stat}{$S})`, `${legend} {{cluster_name}}`)

const stat = (title: string, unit: string, queries: readonly Query[], more: Partial<Panel> = {}): Panel => ({
  title,
  kind: 'stat',
  unit,
  width: 4,
  queries,
  ...more,
})
const graph = (title: string, unit: string, queries: readonly Query[], more: Partial<Panel> = {}): Panel => ({
  title,
  kind: 'timeseries',
  unit,
  width: 8,
  queries,
  ...more,
})

export const ROWS: readonly { readonly title: string; readonly panels: readonly Panel[] }[] = [
  {
    title: 'Overview',
    panels: [
      stat('Requests and tunnels', 'reqps', [query(sum('', 'sallyport_requests_total{$S}'))]),
      stat('Refused here', 'reqps', [query(sum('', 'sallyport_refused_requests_total{$S}'))]),
      stat('Answers 5xx', 'percentunit', [query(`(${sum('', FAILED)} or vector(0)) / ${sum('', ANSWERED)}`)], {
        alarm: 0.05,
        description: 'Of the requests that had somewhere to go.',
      }),
      stat('Duration p99', 'ms', [duration(0.99)]),
      stat('Open tunnels', 'short', [query('sum(sallyport_open_tunnels{$S})')]),
      stat('Last reload', 'bool_yes_no', [query('min(sallyport_config_last_reload_successful{$S})')], {
        floor: 1,
        description: 'No: a gateway keeps its last good configuration; its log says what is wrong with the new one.',
      }),
      graph('Rate by answer', 'reqps', [query(sum('response_code', 'istio_requests_total{$S}'), '{{response_code}}')]),
      graph(
        'Errors by flag',
        'reqps',
        [query(sum('response_flags', 'istio_requests_total{$S,response_flags!="-"}'), '{{response_flags}}')],
        {
          description:
            "Envoy's flags: UF no connection, UH no endpoint, UT time-out, DC the caller left, NR no route …",
        },
      ),
      graph('Duration', 'ms', [duration(0.5), duration(0.9), duration(0.99)]),
    ],
  },
  {
    title: 'Who goes where',
    panels: [
      {
        title: 'Identity × destination',
        kind: 'table',
        unit: 'short',
        width: 24,
        queries: [query(`sum by (source_principal, destination_host, decision) (increase(${CHOSEN}[$__range])) > 0`)],
        description: 'Requests and tunnels in the time shown. `none` is a caller without identity.',
      },
      graph('Callers', 'reqps', [query(`topk(10, ${sum('source_principal', CHOSEN)})`, '{{source_principal}}')]),
      graph('Destinations', 'reqps', [query(`topk(10, ${sum('destination_host', CHOSEN)})`, '{{destination_host}}')]),
      graph('Namespaces', 'reqps', [query(sum('source_namespace', CHOSEN), '{{source_namespace}}')]),
    ],
  },
  {
    title: 'Decisions',
    panels: [
      graph('By decision', 'reqps', [query(sum('decision', CHOSEN), '{{decision}}')], {
        description: '`none`: no AuthorizationPolicy applies to this gateway.',
      }),
      graph('By policy', 'reqps', [query(sum('policy, decision', CHOSEN), '{{decision}} {{policy}}')]),
      graph('Refused, by reason', 'reqps', [
        query(`${sum('reason', 'sallyport_refused_requests_total{$S}')} > 0`, '{{reason}}'),
      ]),
      graph('Refused, by identity', 'reqps', [
        query(
          `topk(10, ${sum('source_principal, reason', 'sallyport_refused_by_identity_total{$S,source_principal=~"$principal"}')})`,
          '{{source_principal}} {{reason}}',
        ),
      ]),
      graph('Connections refused before a request', 'cps', [
        query(`${sum('reason', 'sallyport_refused_connections_total{$S}')} > 0`, '{{reason}}'),
      ]),
      graph(
        'Dry run',
        'reqps',
        [
          query(sum('', 'envoy_http_rbac_shadow_denied{$S}'), 'would be refused'),
          query(sum('', 'envoy_http_rbac_shadow_allowed{$S}'), 'would be allowed'),
        ],
        {
          description:
            'What policies annotated istio.io/dry-run would have done; `authz_shadow` in the access log names them.',
        },
      ),
    ],
  },
  {
    title: 'Upstream',
    panels: [
      graph('Answers by cluster', 'reqps', [
        query(
          `${sum('cluster_name, response_code_class', 'envoy_cluster_upstream_rq_xx{$S}')} > 0`,
          '{{response_code_class}}xx {{cluster_name}}',
        ),
      ]),
      graph('Connections open', 'short', [gaugeByCluster('upstream_cx_active', '')]),
      graph('Connections made and failed', 'cps', [
        byCluster('upstream_cx_total', 'made'),
        byCluster('upstream_cx_connect_fail', 'failed'),
        byCluster('upstream_cx_connect_timeout', 'timed out'),
      ]),
      graph('Requests under way and waiting', 'short', [
        gaugeByCluster('upstream_rq_active', 'under way'),
        gaugeByCluster('upstream_rq_pending_active', 'waiting'),
      ]),
      graph('Tries again', 'reqps', [
        byCluster('upstream_rq_retry', 'again'),
        byCluster('upstream_rq_retry_success', 'and it worked'),
        byCluster('upstream_rq_retry_limit_exceeded', 'no more'),
        byCluster('upstream_rq_timeout', 'timed out'),
      ]),
      graph('TLS', 'cps', [
        byCluster('ssl_handshake', 'handshake'),
        byCluster('ssl_fail_verify_error', 'not trusted'),
        byCluster('ssl_fail_verify_san', 'other name'),
        byCluster('ssl_connection_error', 'error'),
      ]),
      graph(
        'DNS',
        'reqps',
        [
          query(sum('', 'sallyport_dns_queries_total{$S}'), 'asked'),
          query(sum('', 'sallyport_dns_failures_total{$S}'), 'failed'),
          query(sum('', 'sallyport_dns_stale_answers_total{$S}'), 'served stale'),
          query(sum('', 'sallyport_dns_overload_total{$S}'), 'too many'),
        ],
        { description: 'Stale: the last good answer is used because DNS fails, for at most spec.dns.staleFor.' },
      ),
      graph('Endpoints', 'short', [
        gaugeByCluster('membership_healthy', 'in use'),
        gaugeByCluster('membership_excluded', 'forbidden'),
        gaugeByCluster('outlier_detection_ejections_active', 'ejected'),
      ]),
      graph('Ejections', 'cps', [
        byCluster('outlier_detection_ejections_enforced_total', 'ejected'),
        byCluster('outlier_detection_ejections_overflow', 'too many'),
      ]),
      graph('Circuit breakers open', 'short', [
        gaugeByCluster('circuit_breakers_default_cx_open', 'connections'),
        gaugeByCluster('circuit_breakers_default_rq_open', 'requests'),
        gaugeByCluster('circuit_breakers_default_rq_pending_open', 'waiting'),
        gaugeByCluster('circuit_breakers_default_rq_retry_open', 'retries'),
      ]),
      graph('Overflow', 'reqps', [
        byCluster('upstream_cx_overflow', 'connections'),
        byCluster('upstream_rq_pending_overflow', 'requests'),
        byCluster('upstream_rq_retry_overflow', 'retries'),
      ]),
      graph(
        'Forbidden addresses',
        'cps',
        [query(sum('cluster_name', 'sallyport_address_denied_total{$S}'), '{{cluster_name}}')],
        { description: 'A name that resolves to a private address: a mistake in DNS, or an attack (rebinding).' },
      ),
    ],
  },
  {
    title: 'Limits and blocks',
    panels: [
      stat('Blocks', 'short', [query('max(sallyport_blocks_active{$S})')], {
        alarm: 1,
        description: '`sallyport blocks` shows who is blocked, why, and until when.',
      }),
      stat('Shared store', 'bool_yes_no', [query('min(sallyport_rate_limit_store_up{$S})')], {
        floor: 1,
        description: 'No: Redis does not answer in time, and each global limit acts as its onStoreFailure says.',
      }),
      graph('Blocked', 'reqps', [query(sum('instance', 'sallyport_blocked_total{$S}'), '{{instance}}')]),
      graph('By limit', 'reqps', [
        query(sum('limit, decision', 'sallyport_rate_limit_decisions_total{$S}'), '{{decision}} {{limit}}'),
      ]),
      graph('Shared store', 'reqps', [
        query(sum('', 'sallyport_rate_limit_store_questions_total{$S}'), 'asked'),
        query(sum('cause', 'sallyport_rate_limit_store_failures_total{$S}'), '{{cause}}'),
        query(sum('instance', 'sallyport_rate_limit_store_outages_total{$S}'), 'outage {{instance}}'),
      ]),
      {
        title: 'Budgets: left',
        kind: 'table',
        unit: 'short',
        width: 16,
        queries: [query('min by (limit, principal, host) (sallyport_budget_remaining{$S})')],
      },
    ],
  },
  {
    title: 'Tunnels',
    panels: [
      graph('Open', 'short', [query('sum by (instance) (sallyport_open_tunnels{$S})', '{{instance}}')]),
      graph('Ended', 'cps', [
        query(
          sum('destination_service, response_flags', 'istio_tcp_connections_closed_total{$S}'),
          '{{destination_service}} {{response_flags}}',
        ),
      ]),
      graph('Bytes of tunnels that ended', 'Bps', [
        query(sum('destination_service', 'istio_tcp_received_bytes_total{$S}'), 'out {{destination_service}}'),
        query(sum('destination_service', 'istio_tcp_sent_bytes_total{$S}'), 'in {{destination_service}}'),
      ]),
    ],
  },
  {
    title: 'Callers',
    panels: [
      graph('Connections', 'cps', [
        query(sum('listener_address', 'envoy_listener_downstream_cx_total{$S}'), '{{listener_address}}'),
      ]),
      graph('Connections open', 'short', [
        query('sum by (instance) (sallyport_open_connections{$S})', '{{instance}}'),
        query('sum by (listener_address) (envoy_listener_downstream_cx_active{$S})', '{{listener_address}}'),
      ]),
      graph('TLS with callers', 'cps', [
        query(sum('', 'envoy_listener_ssl_handshake{$S}'), 'handshake'),
        query(sum('', 'envoy_listener_ssl_fail_verify_no_cert{$S}'), 'no certificate'),
        query(sum('', 'envoy_listener_ssl_fail_verify_error{$S}'), 'not trusted'),
        query(sum('', 'envoy_listener_ssl_connection_error{$S}'), 'error'),
        query(sum('', 'envoy_listener_no_filter_chain_match{$S}'), 'no server'),
      ]),
    ],
  },
  {
    title: 'Runtime',
    panels: [
      graph(
        'Event-loop delay',
        's',
        [query('max by (instance, statistic) (sallyport_event_loop_delay_seconds{$S})', '{{statistic}} {{instance}}')],
        { alarm: 0.1, description: 'Everything waits this long. Above 0.1 s: more replicas, or fewer requests each.' },
      ),
      graph('CPU', 'percentunit', [query(sum('instance', 'process_cpu_seconds_total{$S}'), '{{instance}}')]),
      graph('Memory', 'bytes', [
        query('sum by (instance) (process_resident_memory_bytes{$S})', 'resident {{instance}}'),
        query('sum by (instance) (nodejs_heap_used_bytes{$S})', 'heap {{instance}}'),
        query('sum by (instance) (nodejs_heap_size_bytes{$S})', 'heap reserved {{instance}}'),
        query('sum by (instance) (nodejs_external_memory_bytes{$S})', 'buffers {{instance}}'),
      ]),
      graph(
        'Access-log lines and spans lost',
        'cps',
        [
          query(sum('instance', 'sallyport_access_log_dropped_total{$S}'), 'lines {{instance}}'),
          query(sum('instance', 'sallyport_spans_dropped_total{$S}'), 'spans {{instance}}'),
        ],
        {
          alarm: 0.001,
          description:
            'The reader of the log, or the collector of spans, is too slow or gone: what happens meanwhile is on no record.',
        },
      ),
      graph('Running for', 's', [query('time() - process_start_time_seconds{$S}', '{{instance}}')]),
      {
        title: 'Versions',
        kind: 'table',
        unit: 'short',
        width: 8,
        queries: [query('count by (version, node_version) (sallyport_build_info{$S})')],
      },
    ],
  },
  {
    title: 'Certificates and configuration',
    panels: [
      {
        title: 'Certificates: time left',
        kind: 'table',
        unit: 's',
        width: 12,
        queries: [query('min by (credential) (sallyport_certificate_expiry_seconds{$S} - time())')],
        floor: 900,
      },
      graph(
        'Certificates: share of life left',
        'percentunit',
        [
          query(
            'min by (credential) ((sallyport_certificate_expiry_seconds{$S} - time()) / (sallyport_certificate_expiry_seconds{$S} - sallyport_certificate_issued_seconds{$S}))',
            '{{credential}}',
          ),
        ],
        { width: 12, floor: 0.2, description: 'A line that does not jump back up is a certificate nobody renews.' },
      ),
      stat('Configurations activated', 'short', [query('sum(sallyport_config_generation{$S})')], { width: 6 }),
      stat(
        'Since the last attempt to load',
        's',
        [query('time() - max(sallyport_config_last_reload_timestamp_seconds{$S})')],
        {
          width: 6,
        },
      ),
      stat(
        'Different configurations',
        'short',
        [query('count(count by (config_version) (sallyport_config_info{$S}))')],
        {
          width: 6,
          alarm: 2,
          description: 'More than one for longer than a rollout: replicas that judge by different rules.',
        },
      ),
      stat('Clusters that verify no certificate', 'short', [query('max(sallyport_upstream_insecure_clusters{$S})')], {
        width: 6,
        alarm: 1,
      }),
    ],
  },
]

/**
 * TABLE of the choices at the top; each is filled from the values of a label. "All" means all values found, so that series of
 * other programs stay out, unless `all` gives a shorter expression where only our own series are asked.
 */
export const VARIABLES: readonly {
  readonly name: string
  readonly label: string
  readonly metric: string
  readonly from: string
  readonly all?: string
}[] = [
  { name: 'job', label: 'Job', metric: 'sallyport_build_info', from: 'job' },
  { name: 'instance', label: 'Gateway', metric: 'sallyport_build_info{job=~"$job"}', from: 'instance' },
  {
    name: 'principal',
    label: 'Caller',
    metric: `sallyport_requests_total{${SELECTOR}}`,
    from: 'source_principal',
    all: '.*',
  },
  {
    name: 'host',
    label: 'Destination',
    metric: `sallyport_requests_total{${SELECTOR}}`,
    from: 'destination_host',
    all: '.*',
  },
]
