/**
 * The dashboard and the alert rules against a real Prometheus that scrapes a real gateway under mixed traffic: every expression
 * returns data, numbers are those of the traffic, and Istio's own dashboards find their labels.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import { skipWithoutRedis } from '../../src/testing/redis.ts'
import { missing } from '../sidecars/program.ts'
import { selectorsOf } from './metric-names.ts'
import { PER_ROUND, startMixedTraffic } from './mixed-traffic.ts'
import { alertNames, panelQueries, variableQueries } from './observability-files.ts'
import { startPrometheus } from './prometheus-server.ts'

/**
 * TABLE of what Istio's dashboards ask (behaviour §9.4: mesh, service, workload, performance), with their variables filled in
 * as for an egress gateway.
 */
const ISTIO_DASHBOARDS = [
  'sum(rate(istio_requests_total{reporter=~"source|waypoint"}[10s]))',
  'sum(rate(istio_requests_total{reporter=~"source|waypoint",response_code!~"5.*"}[10s])) / sum(rate(istio_requests_total{reporter=~"source|waypoint"}[10s]))',
  'sum(rate(istio_requests_total{reporter=~"source|waypoint",response_code=~"4.*"}[10s]))',
  'sum(rate(istio_requests_total{reporter=~"source|waypoint",response_code=~"5.*"}[10s]))',
  'label_join(sum(rate(istio_requests_total{reporter=~"source|waypoint",response_code="200"}[10s])) by (destination_workload, destination_workload_namespace, destination_service), "destination_workload_var", ".", "destination_workload", "destination_workload_namespace")',
  'label_join(histogram_quantile(0.99, sum(rate(istio_request_duration_milliseconds_bucket{reporter=~"source|waypoint"}[10s])) by (le, destination_workload, destination_workload_namespace)), "destination_workload_var", ".", "destination_workload", "destination_workload_namespace")',
  'label_join(sum(rate(istio_tcp_received_bytes_total{reporter=~"source|waypoint"}[10s])) by (destination_workload, destination_workload_namespace, destination_service), "destination_workload_var", ".", "destination_workload", "destination_workload_namespace")',
  'sum(rate(istio_tcp_sent_bytes_total{reporter=~"source|waypoint"}[10s])) by (destination_service)',
  'sum(istio_build) by (component, tag)',
  'round(sum(irate(istio_requests_total{reporter=~"source",destination_service=~"site.example"}[10s])), 0.001)',
  'sum(irate(istio_requests_total{reporter=~"source",destination_service=~"site.example",response_code!~"5.*"}[10s]))',
  'round(sum(irate(istio_requests_total{connection_security_policy!="mutual_tls",destination_service=~"site.example",reporter=~"source",source_workload=~"istio-egressgateway",source_workload_namespace=~"istio-system"}[10s])) by (source_workload, source_workload_namespace, response_code), 0.001)',
  'histogram_quantile(0.50, sum(irate(istio_request_duration_milliseconds_bucket{reporter=~"source",destination_service=~"site.example"}[10s])) by (source_workload, source_workload_namespace, le))',
  'histogram_quantile(0.95, sum(irate(istio_request_bytes_bucket{reporter=~"source",destination_service=~"site.example"}[10s])) by (source_cluster, destination_cluster, le))',
  'histogram_quantile(0.95, sum(irate(istio_response_bytes_bucket{reporter=~"source",destination_service=~"site.example"}[10s])) by (destination_canonical_service, le))',
  'sum(irate(istio_requests_total{reporter="source",source_canonical_service="istio-egressgateway",source_canonical_revision="latest"}[10s])) by (destination_principal, request_protocol, grpc_response_status)',
  'sum(irate(istio_tcp_connections_opened_total{reporter="source"}[10s])) by (destination_service)',
  'sum(irate(istio_tcp_connections_closed_total{reporter="source"}[10s])) by (destination_service)',
  'sum(irate(istio_response_bytes_sum{source_workload="istio-egressgateway"}[10s])) + sum(irate(istio_request_bytes_sum{source_workload="istio-egressgateway"}[10s]))',
] as const

const escaped = (text: string) => text.replaceAll('.', '\\\\.')

test('every panel, rule and query of Istio’s dashboards finds data in a real Prometheus', {
  skip: missing('prometheus', ['--version']) || skipWithoutRedis,
  timeout: 300_000,
}, async (t) => {
  const traffic = await startMixedTraffic(t)
  const { harness } = traffic
  const endpoint = harness.gateway.control?.metrics
  assert.ok(endpoint !== undefined)
  await traffic.round()
  const prometheus = await startPrometheus(t, endpoint)
  const open = await traffic.openTunnel()

  // As Grafana fills them in: every choice from the values that Prometheus has.
  const filled: Record<string, string> = { __rate_interval: '10s', __range: '1m' }
  const fill = (expr: string) => expr.replaceAll(/\$(\w+)/g, (_, name: string) => filled[name] ?? assert.fail(name))
  for (const { name, metric, label } of variableQueries()) {
    const values = [...new Set((await prometheus.series(fill(metric))).map((labels) => labels[label] ?? ''))]
    assert.ok(values.length > 0 && values.every((value) => value !== ''), `${name}: ${values.join(' ')}`)
    filled[name] = values.map(escaped).join('|')
  }
  assert.deepEqual(Object.keys(filled), ['__rate_interval', '__range', 'job', 'instance', 'principal', 'host'])
  assert.equal(filled['job'], 'sallyport')

  const rules = await prometheus.rules()
  assert.deepEqual(rules.map(({ name }) => name).toSorted(), alertNames().toSorted())
  const wanted = new Map<string, string>()
  for (const { panel, expr } of panelQueries()) wanted.set(fill(expr), panel)
  for (const expr of ISTIO_DASHBOARDS) wanted.set(expr, 'Istio’s dashboards')
  // What an alert watches must be there even while it is silent; that it fires is for promtool's cases.
  for (const { name, query } of rules) for (const selector of selectorsOf(query)) wanted.set(selector, name)
  assert.ok(wanted.size > 120, String(wanted.size))

  const pending = new Map(wanted)
  for (let tries = 0; pending.size > 0 && tries < 30; tries += 1) {
    await traffic.round()
    await prometheus.scraped(1)
    for (const expr of pending.keys())
      if ((await prometheus.query(expr)).some(({ value }) => Number.isFinite(value))) pending.delete(expr)
  }
  assert.deepEqual(
    [...pending].map(([expr, where]) => `${where}: ${expr}`),
    [],
  )
  await eventually('the target is up', async () => {
    const { health, lastError } = await prometheus.target()
    return health === 'up' && lastError === ''
  })

  await t.test('the numbers are those of the traffic', async () => {
    await prometheus.scraped(2)
    const one = async (expr: string) => (await prometheus.query(expr))[0]?.value
    const rounds = traffic.rounds()
    assert.equal(await one('sum(sallyport_requests_total)'), rounds * PER_ROUND.requests)
    assert.equal(await one('sum(sallyport_requests_total{decision="deny"})'), rounds * PER_ROUND.denied)
    const cart = 'source_principal="spiffe://cluster.local/ns/shop/sa/cart"'
    const host = 'destination_host="unregistered.example"'
    assert.equal(await one(`sum(sallyport_requests_total{${cart},${host}})`), rounds)
    for (const reason of ['rbac_denied', 'not_registered', 'address_denied'])
      assert.equal(await one(`sallyport_refused_by_identity_total{${cart},reason="${reason}"}`), rounds, reason)
    assert.equal(await one('sallyport_refused_connections_total{reason="no_client_certificate"}'), rounds)
    assert.equal(await one('sallyport_open_tunnels'), 1)
    assert.equal(await one('sum(envoy_http_rbac_shadow_denied)'), rounds)
    assert.equal(await one('sum(envoy_cluster_upstream_rq_retry_success{cluster_name=~".*flaky.*"})'), rounds)
    assert.equal(await one('istio_requests_total{request_protocol="grpc",grpc_response_status="0"}'), rounds)
    assert.ok(((await one('sum(envoy_cluster_ssl_fail_verify_san)')) ?? 0) > 0)
  })

  await t.test('alerts: none of configuration, then one for a reload that fails; stale DNS is counted', async () => {
    const names = async () => (await prometheus.alerts()).map(({ name }) => name)
    for (const name of ['SallyportReloadFailed', 'SallyportCertificateExpiring', 'SallyportAccessLogDropped'])
      assert.ok(!(await names()).includes(name), name)
    assert.equal((await harness.change({ 'broken.yaml': 'kind: [' })).ok, false)
    await eventually('the alert is pending', async () => (await names()).includes('SallyportReloadFailed'), 60_000)
    assert.equal((await harness.change({ 'broken.yaml': null })).ok, true)
    await eventually('it is over', async () => !(await names()).includes('SallyportReloadFailed'), 60_000)

    traffic.failDns()
    for (let tries = 0; tries < 20; tries += 1) {
      await traffic.round()
      await prometheus.scraped(1)
      if ((await names()).includes('SallyportDnsStale')) break
    }
    assert.ok((await names()).includes('SallyportDnsStale'))
    for (const { name, health, lastError = '' } of await prometheus.rules())
      assert.deepEqual([health, lastError], ['ok', ''], name)
  })
  open.destroy()
})
