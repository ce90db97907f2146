/**
 * A tunnel to a port for which the gateway originates TLS leaves that TLS out. To whoever reads logs and statistics it is the
 * same cluster (behaviour §12 row 12): one name, one set of counters.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { meshConnect, request } from '../../src/testing/mesh-client.ts'
import { startEchoOrigin } from '../../src/testing/origin.ts'
import { createTestPki } from '../../src/testing/pki.ts'
import { destinationRule, documents, serviceEntry } from './manifests.ts'
import { askControl, sample, stat } from './operator.ts'
import { started } from './started.ts'
import { application, ended, meshTunnel, SLEEP } from './tunnel-world.ts'

const HOST = 'httpbin.org'
const CLUSTER = `outbound|443||${HOST}`

test('requests and tunnels to one port are one cluster in logs, statistics, /clusters and metrics', async (t) => {
  const pki = await createTestPki()
  const { cert, key } = await pki.serverCert(HOST)
  const site = await startEchoOrigin({ tls: { cert, key }, name: 'site' })
  t.after(() => site.close())
  const to = (name: string, gatewayPort: number, port: object, more: object = {}) => ({
    name,
    hosts: [HOST],
    port: { name, ...port },
    byEgressGateway: { port: gatewayPort },
    ...more,
  })
  const policy = {
    apiVersion: 'istio.alibabacloud.com/v1',
    kind: 'ASMEgressTrafficPolicy',
    metadata: { name: 'egress', namespace: 'istio-egress' },
    spec: {
      byEgressGateway: { name: 'istio-egressgateway' },
      egressRules: [
        {
          from: [{ namespace: 'default' }],
          to: [
            to('http', 80, { number: 80, protocol: 'HTTP' }, { httpsUpgrade: { enabled: true, port: 443 } }),
            to('https', 444, { number: 443, protocol: 'HTTPS' }),
          ],
        },
      ],
    },
  }
  const harness = await started(t, { pki, spec: { ports: { 80: 0, 444: 0 } }, resources: {} })
  const tls = { mode: 'SIMPLE', caCertificates: pki.writeTo(harness.paths.dir) }
  const resources = documents(
    serviceEntry('site', HOST, site.port, { port: 443, protocol: 'HTTPS' }),
    destinationRule('site', HOST, { tls }),
    policy,
  )
  assert.deepEqual(await harness.change({ 'all.yaml': resources }), { ok: true, errors: [] })

  const socket = await meshConnect({ port: harness.gateway.port(80), svid: await pki.svid(SLEEP), ca: pki.root })
  assert.match((await request(socket, HOST)).body, /<title>site</)
  socket.destroy()
  const inner = await application(harness, await meshTunnel(harness, { port: 444 }), HOST)
  assert.equal(await stat(harness, `cluster.${CLUSTER}.upstream_cx_active`), 2)
  const { body } = await askControl(harness, 'admin', '/clusters')
  const active = body.split('\n').filter((line) => line.includes('::cx_active::'))
  assert.deepEqual(active, [`${CLUSTER}::127.0.0.1:${site.port}::cx_active::2`])
  inner.end(`GET / HTTP/1.1\r\nhost: ${HOST}\r\nconnection: close\r\n\r\n`)
  inner.resume()
  await ended(inner)
  inner.destroy()

  const lines = await harness.lines(2)
  assert.deepEqual(
    lines.map((line) => [line['upstream_cluster'], line['protocol'], line['upstream_host']]),
    [
      [CLUSTER, 'HTTP/1.1', `127.0.0.1:${site.port}`],
      [CLUSTER, null, `127.0.0.1:${site.port}`],
    ],
  )
  const statistics = (await askControl(harness, 'admin', '/stats')).body
  assert.ok(!statistics.includes('tunnel|'), 'no name of our own')
  assert.equal(await stat(harness, `cluster.${CLUSTER}.upstream_cx_total`), 2)
  assert.equal(await stat(harness, `cluster.${CLUSTER}.membership_total`), 1)
  assert.equal(await sample(harness, `envoy_cluster_upstream_cx_total{cluster_name="${CLUSTER}"}`), 2)
  await harness.stop(2)
})

test('a tunnel that a policy refuses is logged under the cluster it would have gone to', async (t) => {
  const pki = await createTestPki()
  const harness = await started(t, {
    pki,
    spec: { ports: { 80: 0, 444: 0 } },
    resources: {
      'all.yaml': documents(
        serviceEntry('site', HOST, 1, { port: 443, protocol: 'HTTPS' }),
        destinationRule('site', HOST, { tls: { mode: 'SIMPLE' } }),
        {
          apiVersion: 'istio.alibabacloud.com/v1',
          kind: 'ASMEgressTrafficPolicy',
          metadata: { name: 'egress', namespace: 'istio-egress' },
          spec: {
            byEgressGateway: { name: 'istio-egressgateway', port: 444 },
            egressRules: [
              {
                from: [{ namespace: 'default' }],
                to: [{ name: 'to', hosts: [HOST], port: { name: 'tls', number: 443, protocol: 'HTTPS' } }],
              },
            ],
          },
        },
        {
          apiVersion: 'security.istio.io/v1',
          kind: 'AuthorizationPolicy',
          metadata: { name: 'deny', namespace: 'istio-system' },
          spec: { action: 'DENY', rules: [{ from: [{ source: { namespaces: ['default'] } }] }] },
        },
      ),
    },
  })
  await assert.rejects(application(harness, await meshTunnel(harness, { port: 444 }), HOST))
  const [line] = await harness.lines(1)
  assert.deepEqual([line?.['reason'], line?.['upstream_cluster']], ['rbac_denied', CLUSTER])
  await harness.stop(1)
})
