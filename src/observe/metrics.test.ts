/** What a scrape shows, what it must never grow to, and what Prometheus' own tool says about it. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { describe, test } from 'node:test'
import type { Connection, Peer } from '../core/attributes.ts'
import { REASONS } from '../core/reasons.ts'
import { newClusterStats, newListenerStats } from '../core/stats.ts'
import { eventually } from '../testing/eventually.ts'
import { createMetrics, type Metrics, type MetricsSources } from './metrics.ts'
import { METRICS, renderMetricsDoc } from './metrics-doc.ts'
import { type ExchangeRecord, newRecord } from './record.ts'

function sources(changes: Partial<MetricsSources> = {}): MetricsSources {
  return {
    clusters: () => [],
    listeners: () => [],
    certificates: () => [],
    accessLogDropped: () => 0,
    openConnections: () => 0,
    openTunnels: () => 0,
    config: () => ({ generation: 1, lastReloadSuccessful: true, lastReloadAt: 1_700_000_000_500, version: 'c0ffee' }),
    dns: () => ({ queries: 0, failures: 0, stale: 0, overload: 0 }),
    limits: {
      decisions: () => [['ns/limits/one', { allow: 1, deny: 0, shadow_deny: 0, error: 0 }]],
      budgets: () => [],
    },
    shared: { blocksActive: () => 0, blocked: () => 0, store: () => null },
    tokenKeys: () => [{ uri: 'https://i.example/jwks', keys: 2, ageMs: 1500, fetched: 3, failed: 1 }],
    gatewayName: 'istio-egressgateway',
    gatewayNamespace: 'istio-system',
    ...changes,
  }
}

function peer(uri: string, namespace: string | null): Peer {
  const certificate = {
    sha256: '',
    subject: '',
    issuer: '',
    serial: '',
    uriSans: [uri],
    dnsSans: [],
    notBefore: 0,
    notAfter: 0,
  }
  return { kind: 'spiffe', id: { uri, trustDomain: 'cluster.local', namespace, serviceAccount: null }, certificate }
}
const SLEEP = peer('spiffe://cluster.local/ns/mytest/sa/sleep-a', 'mytest')

function connection(who: Peer): Connection {
  return {
    id: 1,
    openedAt: 0,
    remoteAddress: '10.0.0.1',
    remotePort: 1,
    localAddress: '10.0.0.2',
    localPort: 8080,
    gatewayPort: 80,
    peer: who,
    tls: null,
  }
}

const ALLOW = { allow: true, outcome: 'allow', policy: null, source: null, shadow: null } as const
const DENY = { allow: false, outcome: 'deny', policy: 'ns[a]-policy[b]-rule[0]', source: null, shadow: null } as const

function record(changes: Partial<ExchangeRecord>, who: Peer = SLEEP): ExchangeRecord {
  return Object.assign(newRecord(changes.kind ?? 'http', connection(who), 0), changes)
}
const toHttpbin: Partial<ExchangeRecord> = {
  authority: 'httpbin.org',
  upstreamCluster: 'outbound|80||httpbin.org',
  upstreamHost: '192.0.2.1:80',
  responseCode: 200,
  decision: ALLOW,
  durationMs: 24,
  bytesReceived: 0,
  bytesSent: 1024,
}

/** Lines of one family, without comments. */
async function lines(metrics: Metrics, name: string): Promise<string[]> {
  const text = await metrics.prometheus()
  return text.split('\n').filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `))
}

describe('requests', () => {
  test('sallyport_requests_total says who called what and what was decided', async () => {
    const metrics = createMetrics(sources())
    metrics.record(record(toHttpbin))
    metrics.record(record({ ...toHttpbin, authority: 'httpbin.org:80' }))
    metrics.record(
      record({ ...toHttpbin, responseCode: 403, decision: DENY, reason: 'rbac_denied', upstreamHost: null }),
    )
    metrics.record(
      record(
        {
          authority: 'blocked.example',
          responseCode: 502,
          decision: { ...ALLOW, outcome: 'none' },
          upstreamCluster: 'BlackHoleCluster',
          reason: 'not_registered',
        },
        { kind: 'none' },
      ),
    )
    assert.deepEqual(await lines(metrics, 'sallyport_requests_total'), [
      'sallyport_requests_total{source_principal="spiffe://cluster.local/ns/mytest/sa/sleep-a",source_namespace="mytest",destination_host="httpbin.org",decision="allow",policy="none",response_code="200",response_flags="-"} 2',
      'sallyport_requests_total{source_principal="spiffe://cluster.local/ns/mytest/sa/sleep-a",source_namespace="mytest",destination_host="httpbin.org",decision="deny",policy="ns[a]-policy[b]-rule[0]",response_code="403",response_flags="-"} 1',
      'sallyport_requests_total{source_principal="none",source_namespace="none",destination_host="blocked.example",decision="none",policy="none",response_code="502",response_flags="-"} 1',
    ])
    const refused = await lines(metrics, 'sallyport_refused_requests_total')
    assert.equal(refused.length, Object.keys(REASONS).length)
    assert.ok(refused.includes('sallyport_refused_requests_total{reason="rbac_denied"} 1'))
    assert.ok(refused.includes('sallyport_refused_requests_total{reason="not_registered"} 1'))
    assert.ok(refused.includes('sallyport_refused_requests_total{reason="overload"} 0'))
    assert.deepEqual(await lines(metrics, 'sallyport_refused_by_identity_total'), [
      'sallyport_refused_by_identity_total{source_principal="spiffe://cluster.local/ns/mytest/sa/sleep-a",source_namespace="mytest",reason="rbac_denied"} 1',
      'sallyport_refused_by_identity_total{source_principal="none",source_namespace="none",reason="not_registered"} 1',
    ])
  })

  test('an idle event loop has no delay, though it is looked at every 20 ms', async () => {
    const metrics = createMetrics(sources())
    // On a busy machine a loop is not always idle; a delay that the looking makes would be there each time.
    await eventually('a delay of next to nothing', async () => {
      await new Promise((resolve) => setTimeout(resolve, 100))
      const [p50 = ''] = await lines(metrics, 'sallyport_event_loop_delay_seconds')
      assert.match(p50, /statistic="p50"/)
      return Number(p50.split(' ').at(-1)) < 0.01
    })
    // One look that comes 60 ms late is the longest delay of this scrape. (The first look after a scrape only sets the clock.)
    await new Promise((resolve) => setTimeout(resolve, 100))
    const until = performance.now() + 60
    while (performance.now() < until);
    await new Promise((resolve) => setTimeout(resolve, 100))
    const longest = (await lines(metrics, 'sallyport_event_loop_delay_seconds')).at(-1) ?? ''
    assert.match(longest, /statistic="max"/)
    assert.ok(Number(longest.split(' ').at(-1)) >= 0.03, longest)
  })

  test('a refused handshake counts as a connection, not as a request', async () => {
    const metrics = createMetrics(sources())
    metrics.connectionRefused('no_client_certificate')
    metrics.record(record({ kind: 'tcp', reason: 'no_client_certificate' }, { kind: 'none' }))
    assert.deepEqual(await lines(metrics, 'sallyport_requests_total'), [])
    assert.ok(
      (await lines(metrics, 'sallyport_refused_connections_total')).includes(
        'sallyport_refused_connections_total{reason="no_client_certificate"} 1',
      ),
    )
    assert.ok(
      (await lines(metrics, 'sallyport_refused_requests_total')).includes(
        'sallyport_refused_requests_total{reason="no_client_certificate"} 0',
      ),
    )
    assert.deepEqual(await lines(metrics, 'istio_tcp_connections_closed_total'), [])
  })

  test("Istio's series: reporter source, the gateway as source, the registered host as destination", async () => {
    const metrics = createMetrics(sources())
    metrics.record(record({ ...toHttpbin, flags: ['DC', 'UF'] }))
    metrics.record(record({ ...toHttpbin, isGrpc: true, grpcStatus: 7 }))
    const [first, second] = await lines(metrics, 'istio_requests_total')
    assert.equal(
      first,
      'istio_requests_total{reporter="source",source_workload="istio-egressgateway",source_workload_namespace="istio-system",source_principal="unknown",source_app="istio-egressgateway",source_version="unknown",source_cluster="unknown",source_canonical_service="istio-egressgateway",source_canonical_revision="latest",destination_workload="unknown",destination_workload_namespace="unknown",destination_principal="unknown",destination_app="unknown",destination_version="unknown",destination_service="httpbin.org",destination_service_name="httpbin.org",destination_service_namespace="unknown",destination_cluster="unknown",destination_canonical_service="unknown",destination_canonical_revision="latest",request_protocol="http",response_flags="UF,DC",connection_security_policy="unknown",response_code="200",grpc_response_status=""} 1',
    )
    assert.match(second ?? '', /request_protocol="grpc".*grpc_response_status="7"/)
    assert.match(
      (await lines(metrics, 'istio_build')).join(),
      /^istio_build\{component="proxy",tag="\d+\.\d+\.\d+[^"]*"\} 1$/,
    )
  })

  test('histograms are cumulative and have Istio’s bounds', async () => {
    const metrics = createMetrics(sources())
    for (const durationMs of [0.5, 0.6, 24, 25, 26, 4_000_000]) metrics.record(record({ ...toHttpbin, durationMs }))
    const buckets = await lines(metrics, 'istio_request_duration_milliseconds_bucket')
    const found = buckets.map((line) =>
      [/le="([^"]+)"/.exec(line)?.[1], line.slice(line.lastIndexOf(' ') + 1)].join(' '),
    )
    assert.deepEqual(found, [
      '0.5 1',
      '1 2',
      '5 2',
      '10 2',
      '25 4',
      ...[50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000].map(
        (bound) => `${bound} 5`,
      ),
      '+Inf 6',
    ])
    const text = await metrics.prometheus()
    assert.match(text, /^istio_request_duration_milliseconds_count\{[^}]*\} 6$/m)
    assert.match(text, /^istio_request_duration_milliseconds_sum\{[^}]*\} 4000076\.1$/m)
    assert.match(text, /^istio_response_bytes_sum\{[^}]*\} 6144$/m)
  })

  test('tunnels: bytes and connections, without response_code', async () => {
    const metrics = createMetrics(sources())
    metrics.record(
      record({
        kind: 'tcp',
        decision: ALLOW,
        upstreamCluster: 'outbound|443||edition.cnn.com',
        bytesReceived: 627,
        bytesSent: 1879689,
        innerServerName: 'edition.cnn.com',
      }),
    )
    const [sent] = await lines(metrics, 'istio_tcp_sent_bytes_total')
    assert.match(sent ?? '', /destination_service="edition\.cnn\.com".*request_protocol="tcp".*\} 1879689$/)
    assert.doesNotMatch(sent ?? '', /response_code=/)
    assert.match((await lines(metrics, 'istio_tcp_received_bytes_total')).join(), /\} 627$/)
    assert.match(
      (await lines(metrics, 'sallyport_requests_total')).join(),
      /destination_host="edition\.cnn\.com".*response_code="0"/,
    )
  })
})

describe('label values from outside are bounded', () => {
  test('100,000 refused names and 20,000 names below a wildcard neither grow a scrape nor hide configured hosts', async () => {
    const metrics = createMetrics(sources())
    for (let n = 0; n < 100_000; n += 1) {
      metrics.record(
        record({
          authority: `h${n}.evil.example`,
          responseCode: 403,
          decision: DENY,
          upstreamCluster: 'BlackHoleCluster',
        }),
      )
    }
    for (let n = 0; n < 20_000; n += 1) {
      metrics.record(
        record({ ...toHttpbin, authority: `h${n}.wikipedia.org`, upstreamCluster: 'outbound|443||*.wikipedia.org' }),
      )
    }
    metrics.record(record(toHttpbin))
    const all = await lines(metrics, 'sallyport_requests_total')
    assert.equal(all.length, 500 + 1 + 500 + 1 + 1)
    assert.equal(
      all.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0),
      120_001,
    )
    assert.ok(all.some((line) => line.includes('destination_host="other",decision="deny"') && line.endsWith(' 99500')))
    assert.ok(all.some((line) => line.includes('destination_host="other",decision="allow"') && line.endsWith(' 19500')))
    assert.ok(all.some((line) => line.includes('destination_host="httpbin.org"')))
  })

  test('identities past the cap are other, and everything together is capped', async () => {
    const metrics = createMetrics(sources())
    for (let n = 0; n < 1500; n += 1) {
      const who = peer(`spiffe://cluster.local/ns/n${n}/sa/a`, `n${n}`)
      for (let host = 0; host < 20; host += 1) {
        metrics.record(
          record(
            { ...toHttpbin, authority: `h${host}.example`, upstreamCluster: `outbound|80||h${host}.example` },
            who,
          ),
        )
      }
    }
    const all = await lines(metrics, 'sallyport_requests_total')
    assert.ok(all.length <= 10_001, String(all.length))
    assert.equal(
      all.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0),
      30_000,
    )
    assert.ok(all.some((line) => line.includes('source_principal="other",source_namespace="other"')))
  })

  test('an upstream that answers with every code cannot grow a scrape without end', async () => {
    const metrics = createMetrics(sources())
    for (let n = 0; n < 10; n += 1) {
      for (let code = 100; code < 1000; code += 1) {
        metrics.record(record({ ...toHttpbin, upstreamCluster: `outbound|80||h${n}.example`, responseCode: code }))
      }
    }
    assert.ok((await lines(metrics, 'istio_requests_total')).length <= 2501)
  })

  test('control characters, quotes and long values', async () => {
    const metrics = createMetrics(sources())
    metrics.record(record({ ...toHttpbin, authority: 'a"b\\c\nd\u0000é\ud800', upstreamCluster: null }))
    metrics.record(record({ ...toHttpbin, authority: 'x'.repeat(100_000), upstreamCluster: null }))
    const [odd, long] = await lines(metrics, 'sallyport_requests_total')
    assert.match(odd ?? '', /destination_host="a\\"b\\\\c_d___"/)
    assert.ok((long ?? '').length < 600)
  })
})

describe('state', () => {
  test('Envoy counters are read at the scrape, under both names', async () => {
    const cluster = newClusterStats('outbound|443||edition.cnn.com')
    const listener = newListenerStats('0.0.0.0_8080')
    const metrics = createMetrics(sources({ clusters: () => [cluster], listeners: () => [listener] }))
    cluster.upstream_cx_total = 2
    cluster.ssl_fail_verify_san = 1
    cluster.address_denied = 5
    cluster.upstream_rq.set(200, 3).set(503, 1)
    listener.downstream_rq_xx[2] = 3
    listener.rbac_denied = 4
    listener.no_filter_chain_match = 6
    const text = await metrics.prometheus()
    for (const line of [
      'envoy_cluster_upstream_cx_total{cluster_name="outbound|443||edition.cnn.com"} 2',
      'envoy_cluster_ssl_fail_verify_san{cluster_name="outbound|443||edition.cnn.com"} 1',
      'envoy_cluster_upstream_rq{cluster_name="outbound|443||edition.cnn.com",response_code="503"} 1',
      'envoy_cluster_upstream_rq_xx{cluster_name="outbound|443||edition.cnn.com",response_code_class="2"} 3',
      'envoy_http_downstream_rq_xx{http_conn_manager_prefix="outbound_0.0.0.0_8080",response_code_class="2"} 3',
      'envoy_http_rbac_denied{http_conn_manager_prefix="outbound_0.0.0.0_8080"} 4',
      'envoy_listener_no_filter_chain_match{listener_address="0.0.0.0_8080"} 6',
      'envoy_server_live 1',
      'sallyport_address_denied_total{cluster_name="outbound|443||edition.cnn.com"} 5',
    ]) {
      assert.ok(text.split('\n').includes(line), line)
    }
    const stats = metrics.stats({ filter: null, format: 'text', usedOnly: true })
    assert.equal(
      stats,
      [
        'cluster.outbound|443||edition.cnn.com.ssl.fail_verify_san: 1',
        'cluster.outbound|443||edition.cnn.com.upstream_cx_total: 2',
        'cluster.outbound|443||edition.cnn.com.upstream_rq_200: 3',
        'cluster.outbound|443||edition.cnn.com.upstream_rq_2xx: 3',
        'cluster.outbound|443||edition.cnn.com.upstream_rq_503: 1',
        'cluster.outbound|443||edition.cnn.com.upstream_rq_5xx: 1',
        'http.outbound_0.0.0.0_8080.downstream_rq_2xx: 3',
        'http.outbound_0.0.0.0_8080.rbac.denied: 4',
        'listener.0.0.0.0_8080.no_filter_chain_match: 6',
        'server.live: 1',
        '',
      ].join('\n'),
    )
  })

  test('reload, certificates, drops and connections', async () => {
    const config = { generation: 3, lastReloadSuccessful: false, lastReloadAt: 1_700_000_000_500, version: 'c0ffee' }
    const metrics = createMetrics(
      sources({
        config: () => config,
        certificates: () => [
          { credential: 'identity', notBefore: 1_500_000_000_000, notAfter: 1_800_000_000_000 },
          { credential: 'identity', notBefore: 1_600_000_000_000, notAfter: 1_700_000_000_999 },
        ],
        accessLogDropped: () => 9,
        openConnections: () => 4,
        openTunnels: () => 2,
        dns: () => ({ queries: 5, failures: 1, stale: 2, overload: 0 }),
      }),
    )
    const text = (await metrics.prometheus()).split('\n')
    for (const line of [
      'sallyport_config_last_reload_successful 0',
      'sallyport_config_generation 3',
      'sallyport_config_last_reload_timestamp_seconds 1700000000.5',
      'sallyport_config_info{config_version="c0ffee"} 1',
      'sallyport_certificate_expiry_seconds{credential="identity"} 1700000000',
      // Of the certificate that expires first, not the earliest of all.
      'sallyport_certificate_issued_seconds{credential="identity"} 1600000000',
      'sallyport_access_log_dropped_total 9',
      'sallyport_open_connections 4',
      'sallyport_open_tunnels 2',
      'sallyport_dns_queries_total 5',
      'sallyport_dns_stale_answers_total 2',
    ]) {
      assert.ok(text.includes(line), line)
    }
  })

  test('two stats of one name make one series', async () => {
    const older = newClusterStats('c')
    const newer = newClusterStats('c')
    newer.upstream_cx_total = 7
    const metrics = createMetrics(sources({ clusters: () => [older, newer] }))
    assert.deepEqual(await lines(metrics, 'envoy_cluster_upstream_cx_total'), [
      'envoy_cluster_upstream_cx_total{cluster_name="c"} 7',
    ])
  })

  test('scrapes that overlap share one rendering, and a later one is fresh', async () => {
    let connections = 1
    const metrics = createMetrics(sources({ openConnections: () => connections }))
    const [first, second] = await Promise.all([metrics.prometheus(), metrics.prometheus()])
    assert.equal(first, second)
    connections = 2
    assert.deepEqual(await lines(metrics, 'sallyport_open_connections'), ['sallyport_open_connections 2'])
  })
})

describe('tables', () => {
  test('every family of the tables is served with its type, and nothing else is', async () => {
    const text = await createMetrics(sources()).prometheus()
    const served = [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, type]) => `${name} ${type}`)
    const tabled = METRICS.flatMap(({ rows }) => Object.entries(rows).map(([name, row]) => `${name} ${row.type}`))
    assert.deepEqual(served.toSorted(), tabled.toSorted())
    for (const { rows } of METRICS) for (const row of Object.values(rows)) assert.ok(row.help.length > 0)
  })

  test('the document names every family', () => {
    const text = renderMetricsDoc()
    for (const { rows } of METRICS)
      for (const name of Object.keys(rows)) assert.ok(text.includes(`| \`${name}\` |`), name)
  })
})

describe('promtool', () => {
  const program = 'promtool'
  const probe = spawnSync(program, ['--version'])
  const skip = probe.error === undefined ? false : 'promtool is not on PATH (Debian package "prometheus")'

  test('check metrics: no parse error, no missing HELP, sallyport_* clean, the known lints of Istio and Envoy names', {
    skip,
  }, async () => {
    const cluster = newClusterStats('outbound|443||edition.cnn.com')
    cluster.upstream_rq.set(200, 1)
    const metrics = createMetrics(
      sources({
        clusters: () => [cluster],
        listeners: () => [newListenerStats('0.0.0.0_8080')],
        certificates: () => [{ credential: 'identity', notBefore: 0, notAfter: 1_700_000_000_000 }],
      }),
    )
    metrics.record(record(toHttpbin))
    metrics.record(record({ ...toHttpbin, authority: 'a"b\\c\nd', upstreamCluster: null }))
    metrics.record(record({ kind: 'tcp', decision: ALLOW, upstreamCluster: 'outbound|443||edition.cnn.com' }))
    const run = spawnSync(program, ['check', 'metrics'], { input: await metrics.prometheus(), encoding: 'utf8' })
    const findings = run.stderr.split('\n').filter((line) => line !== '')
    // 1: it cannot be parsed; 3: lint findings only.
    assert.equal(run.status, 3, run.stderr)
    assert.deepEqual(
      findings.filter((line) => /^(?:sallyport|process|nodejs)_/.test(line)),
      [],
    )
    assert.deepEqual(findings.toSorted(), KNOWN_LINTS.toSorted())
  })
})

/** Names we do not choose: dashboards know them as Istio and Envoy write them. */
const KNOWN_LINTS: readonly string[] = [
  'istio_request_duration_milliseconds use base unit "seconds" instead of "milliseconds"',
  'envoy_cluster_ext_authz_denied counter metrics should have "_total" suffix',
  'envoy_cluster_ext_authz_error counter metrics should have "_total" suffix',
  'envoy_cluster_ext_authz_failure_mode_allowed counter metrics should have "_total" suffix',
  'envoy_cluster_ext_authz_ok counter metrics should have "_total" suffix',
  'envoy_cluster_http2_keepalive_timeout counter metrics should have "_total" suffix',
  'envoy_cluster_membership_total non-counter metrics should not have "_total" suffix',
  'envoy_cluster_outlier_detection_ejections_enforced_consecutive_5xx counter metrics should have "_total" suffix',
  'envoy_cluster_outlier_detection_ejections_enforced_consecutive_gateway_failure counter metrics should have "_total" suffix',
  'envoy_cluster_outlier_detection_ejections_enforced_consecutive_local_origin_failure counter metrics should have "_total" suffix',
  'envoy_cluster_outlier_detection_ejections_overflow counter metrics should have "_total" suffix',
  ...[
    'cluster_retry_or_shadow_abandoned',
    'cluster_ssl_connection_error',
    'cluster_ssl_fail_verify_error',
    'cluster_ssl_fail_verify_san',
    'cluster_ssl_handshake',
    'cluster_upstream_cx_connect_fail',
    'cluster_upstream_cx_connect_timeout',
    'cluster_upstream_cx_destroy',
    'cluster_upstream_cx_idle_timeout',
    'cluster_upstream_cx_max_duration_reached',
    'cluster_upstream_cx_max_requests',
    'cluster_upstream_cx_overflow',
    'cluster_upstream_rq',
    'cluster_upstream_rq_cancelled',
    'cluster_upstream_rq_completed',
    'cluster_upstream_rq_pending_failure_eject',
    'cluster_upstream_rq_pending_overflow',
    'cluster_upstream_rq_per_try_timeout',
    'cluster_upstream_rq_retry',
    'cluster_upstream_rq_retry_backoff_exponential',
    'cluster_upstream_rq_retry_limit_exceeded',
    'cluster_upstream_rq_retry_overflow',
    'cluster_upstream_rq_retry_success',
    'cluster_upstream_rq_rx_reset',
    'cluster_upstream_rq_timeout',
    'cluster_upstream_rq_xx',
    'http_downstream_rq_rx_reset',
    'http_downstream_rq_timeout',
    'http_downstream_rq_too_large',
    'http_downstream_rq_xx',
    'http_no_cluster',
    'http_no_route',
    'http_rbac_allowed',
    'http_rbac_denied',
    'http_rbac_shadow_allowed',
    'http_rbac_shadow_denied',
    'http_rq_direct_response',
    'listener_downstream_cx_destroy',
    'listener_downstream_cx_overflow',
    'listener_downstream_pre_cx_timeout',
    'listener_no_filter_chain_match',
    'listener_ssl_connection_error',
    'listener_ssl_fail_verify_error',
    'listener_ssl_fail_verify_no_cert',
    'listener_ssl_fail_verify_san',
    'listener_ssl_handshake',
  ].map((name) => `envoy_${name} counter metrics should have "_total" suffix`),
]
