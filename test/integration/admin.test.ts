/** The admin, health and metrics ports of a running gateway (contract §8): every endpoint once, and what they must not do. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { VERSION } from '../../src/core/version.ts'
import { ADMIN_ENDPOINTS } from '../../src/observe/admin.ts'
import { eventually } from '../../src/testing/eventually.ts'
import { GATEWAY_ID, type Harness, startHarness } from '../../src/testing/harness.ts'
import { meshConnect, plainConnect, rawExchange, request } from '../../src/testing/mesh-client.ts'
import { type EchoOrigin, startEchoOrigin } from '../../src/testing/origin.ts'
import { createTestPki } from '../../src/testing/pki.ts'
import { destinationRule, documents, gateway, ISTIO_MUTUAL, serviceEntry, to, virtualService } from './manifests.ts'
import { askControl, stat } from './operator.ts'
import { started } from './started.ts'

const HOST = 'edition.cnn.com'
const CLUSTER = `outbound|80||${HOST}`

let origin: EchoOrigin
let harness: Harness
const admin = (path: string, method = 'GET') => askControl(harness, 'admin', path, method)

before(async () => {
  const pki = await createTestPki()
  origin = await startEchoOrigin()
  harness = await startHarness({ pki, resources: {} })
  const client = (await pki.svid('partner/client')).writeTo(join(harness.paths.dir, 'client'))
  const mutual = destinationRule('mutual', 'partner.example', {
    portLevelSettings: [
      {
        port: { number: 443 },
        tls: {
          mode: 'MUTUAL',
          clientCertificate: client.certificateChain,
          privateKey: client.privateKey,
          caCertificates: client.trustBundle,
        },
      },
    ],
  })
  const resources = documents(
    gateway({ tls: ISTIO_MUTUAL }),
    serviceEntry('cnn', HOST, origin.port),
    virtualService('cnn', [HOST], [{ route: to(HOST) }]),
    serviceEntry('partner', 'partner.example', origin.port, { port: 443 }),
    virtualService('partner', ['partner.example'], [{ route: to('partner.example', 443) }]),
    mutual,
  )
  assert.deepEqual(await harness.change({ 'all.yaml': resources }), { ok: true, errors: [] })
  const svid = await pki.svid('mytest/sleep')
  for (let i = 0; i < 2; i += 1) {
    const socket = await meshConnect({ port: harness.gateway.port(80), svid, ca: pki.root })
    assert.equal((await request(socket, HOST)).status, 200)
    assert.equal((await request(socket, HOST, { path: '/status/404' })).status, 404)
    socket.destroy()
  }
})
after(async () => {
  await origin.close()
  await harness.stop(4)
})

describe('the admin port', () => {
  it('/ready', async () => {
    const { status, body } = await admin('/ready')
    assert.deepEqual([status, body], [200, 'LIVE\n'])
  })

  it('/stats in Envoy’s text form, sorted, with the numbers of what happened', async () => {
    const { status, headers, body } = await admin('/stats')
    assert.equal(status, 200)
    assert.match(headers['content-type'] ?? '', /^text\/plain/)
    const names = body
      .trimEnd()
      .split('\n')
      .map((line) => line.slice(0, line.lastIndexOf(': ')))
    assert.deepEqual(names, names.toSorted())
    assert.equal(new Set(names).size, names.length)
    // Two callers one after the other, one connection outside.
    assert.equal(await stat(harness, `cluster.${CLUSTER}.upstream_cx_total`), origin.accepted())
    assert.equal(await stat(harness, `cluster.${CLUSTER}.upstream_rq_total`), 4)
    assert.equal(await stat(harness, `cluster.${CLUSTER}.upstream_rq_200`), 2)
    assert.equal(await stat(harness, `cluster.${CLUSTER}.upstream_rq_4xx`), 2)
    const listener = `127.0.0.1_${harness.gateway.port(80)}`
    assert.equal(await stat(harness, `listener.${listener}.downstream_cx_total`), 2)
    assert.equal(await stat(harness, `listener.${listener}.ssl.handshake`), 2)
    assert.equal(await stat(harness, `http.outbound_${listener}.downstream_rq_total`), 4)
    assert.equal(await stat(harness, `http.outbound_${listener}.downstream_rq_2xx`), 2)
    assert.equal(await stat(harness, 'server.live'), 1)
  })

  it('/stats?filter=, ?usedonly and ?format=', async () => {
    const filtered = await admin('/stats?filter=upstream_cx_total')
    assert.ok(filtered.body.includes(`cluster.${CLUSTER}.upstream_cx_total: 1\n`), filtered.body)
    assert.ok(
      filtered.body
        .trimEnd()
        .split('\n')
        .every((line) => line.includes('upstream_cx_total')),
    )
    const regex = await admin(`/stats?filter=${encodeURIComponent('^cluster\\..*\\.upstream_rq_(200|404)$')}`)
    assert.equal(regex.body.trimEnd().split('\n').length, 2)
    assert.equal((await admin(`/stats?filter=${encodeURIComponent('(')}`)).status, 400)
    assert.ok(
      (await admin('/stats?usedonly')).body
        .trimEnd()
        .split('\n')
        .every((line) => !line.endsWith(': 0')),
    )
    const { stats } = JSON.parse((await admin('/stats?format=json')).body) as {
      stats: { name: string; value: number }[]
    }
    assert.equal(stats.find(({ name }) => name === `cluster.${CLUSTER}.upstream_rq_total`)?.value, 4)
    assert.match((await admin('/stats?format=prometheus')).body, /^# TYPE envoy_cluster_upstream_cx_total counter$/m)
    assert.equal((await admin('/stats?format=xml')).status, 400)
  })

  it('/clusters as text and JSON', async () => {
    const { body } = await admin('/clusters')
    const endpoint = `${CLUSTER}::127.0.0.1:${origin.port}`
    for (const line of [
      `${endpoint}::cx_active::1`,
      `${endpoint}::rq_active::0`,
      `${endpoint}::health_flags::healthy`,
      'outbound|443||partner.example::tls::MUTUAL',
    ])
      assert.ok(body.includes(`${line}\n`), `${line} in\n${body}`)
    const { cluster_statuses: clusters } = JSON.parse((await admin('/clusters?format=json')).body) as {
      cluster_statuses: { name: string }[]
    }
    assert.ok(clusters.some(({ name }) => name === CLUSTER))
  })

  it('/listeners as text and JSON', async () => {
    const { body } = await admin('/listeners')
    for (const port of [80, 443].map((each) => harness.gateway.port(each)))
      assert.ok(body.includes(`127.0.0.1_${port}::127.0.0.1:${port}\n`), body)
    const parsed = JSON.parse((await admin('/listeners?format=json')).body) as {
      listener_statuses: { gateway_port: number }[]
    }
    assert.deepEqual(
      parsed.listener_statuses.map(({ gateway_port: port }) => port).toSorted((a, b) => a - b),
      [80, 443],
    )
  })

  it('/certs: the SVID with its URI, the bundle, the client certificate for outside', async () => {
    const { body } = await admin('/certs')
    const { certificates } = JSON.parse(body) as {
      certificates: {
        cert_chain: { subject_alt_names: object[]; days_until_expiration: string }[]
        ca_cert: unknown[]
      }[]
    }
    const sans = certificates.flatMap(({ cert_chain: chain }) => chain.flatMap(({ subject_alt_names: names }) => names))
    const [namespace, account] = GATEWAY_ID.split('/')
    assert.ok(
      sans.some((san) => 'uri' in san && san.uri === `spiffe://cluster.local/ns/${namespace}/sa/${account}`),
      body,
    )
    assert.ok(
      sans.some((san) => 'uri' in san && san.uri === 'spiffe://cluster.local/ns/partner/sa/client'),
      body,
    )
    assert.ok(certificates.some(({ ca_cert: cas }) => cas.length > 0))
  })

  it('/server_info', async () => {
    const info = JSON.parse((await admin('/server_info')).body) as Record<string, unknown>
    assert.deepEqual(
      ['version', 'state', 'gateway', 'namespace', 'generation'].map((key) => info[key]),
      [VERSION, 'LIVE', 'istio-egressgateway', 'istio-system', 2],
    )
  })

  it('/config_dump shows the configuration and no key', async () => {
    const { body } = await admin('/config_dump')
    const dump = JSON.parse(body) as { generation: number; last_reload: { successful: boolean } }
    assert.deepEqual([dump.generation, dump.last_reload.successful], [2, true])
    assert.ok(body.includes(HOST) && body.includes('istio-system/egress'))
    const keys = [join(harness.paths.identity, 'key.pem'), join(harness.paths.dir, 'client', 'key.pem')].map((file) =>
      readFileSync(file, 'utf8'),
    )
    const others = await Promise.all(
      ['/certs', '/server_info', '/clusters?format=json', '/stats'].map((path) => admin(path)),
    )
    const everything = [body, ...others.map((answer) => answer.body)].join('\n')
    assert.ok(!everything.includes('PRIVATE KEY'))
    // Nor a piece of one in another wrapping: the secret half of each PEM body.
    for (const key of keys)
      for (const line of key.split('\n').slice(1, 3)) assert.ok(!everything.includes(line), 'key material')
  })

  it('/help lists every endpoint; what is not there is 404', async () => {
    const { body } = await admin('/help')
    for (const { method, path } of ADMIN_ENDPOINTS) assert.match(body, new RegExp(`^${method} +${path}  `, 'm'))
    assert.equal((await admin('/no-such')).status, 404)
    assert.equal((await admin('/ready/')).status, 404)
  })

  it('GET on what changes something is 405 and changes nothing; POST on a view is 405', async () => {
    const paths = Map.groupBy(ADMIN_ENDPOINTS, ({ path }) => path)
    for (const [path, endpoints] of paths) {
      const methods: readonly string[] = endpoints.map(({ method }) => method)
      const other = ['GET', 'POST', 'PUT'].find((method) => !methods.includes(method)) ?? ''
      const { status, headers } = await admin(path, other)
      const allowed = methods.flatMap((method) => (method === 'GET' ? ['GET', 'HEAD'] : [method]))
      assert.deepEqual([path, status, headers['allow']], [path, 405, allowed.join(', ')])
    }
    assert.equal((await admin('/ready')).status, 200)
    assert.equal((await askControl(harness, 'health', '/healthz/ready')).status, 200)
  })

  it('/healthcheck/fail and /ok turn readiness, not traffic', async () => {
    assert.equal((await admin('/healthcheck/fail', 'POST')).status, 200)
    assert.equal((await askControl(harness, 'health', '/healthz/ready')).status, 503)
    assert.deepEqual([(await admin('/ready')).status, (await admin('/ready')).body], [503, 'DRAINING\n'])
    assert.equal((await admin('/healthcheck/ok', 'POST')).status, 200)
    assert.equal((await askControl(harness, 'health', '/healthz/ready')).status, 200)
  })

  it('/logging sets the level of the operational log', async () => {
    assert.equal((await admin('/logging?level=error', 'POST')).status, 200)
    assert.equal(harness.gateway.log.level(), 'error')
    assert.equal((await admin('/logging?level=shouting', 'POST')).status, 400)
    assert.equal((await admin('/logging', 'POST')).status, 400)
    assert.equal(harness.gateway.log.level(), 'error')
    assert.equal((await admin('/logging?level=debug', 'POST')).status, 200)
  })

  it('refuses what a web page could make a browser send', async () => {
    const port = harness.gateway.control?.admin.port ?? 0
    for (const field of ['host: rebound.example', 'host: 127.0.0.1\r\norigin: https://evil.example']) {
      const socket = await plainConnect(port)
      const answer = await rawExchange(
        socket,
        `POST /healthcheck/fail HTTP/1.1\r\n${field}\r\nconnection: close\r\n\r\n`,
      )
      assert.match(answer, /^HTTP\/1\.1 403 /, field)
    }
    assert.equal((await askControl(harness, 'health', '/healthz/ready')).status, 200)
  })
})

describe('the other control ports', () => {
  it('serve their one path and nothing else', async () => {
    assert.equal((await askControl(harness, 'metrics', '/stats/prometheus')).status, 200)
    assert.equal((await askControl(harness, 'metrics', '/config_dump')).status, 404)
    assert.equal((await askControl(harness, 'metrics', '/stats/prometheus', 'POST')).status, 405)
    assert.equal((await askControl(harness, 'health', '/healthz/ready')).body, 'ready\n')
    assert.equal((await askControl(harness, 'health', '/stats')).status, 404)
    assert.equal((await askControl(harness, 'health', '/quitquitquit', 'POST')).status, 404)
  })
})

it('POST /quitquitquit answers, drains and ends', async (t) => {
  const other = await started(t, { resources: {} })
  assert.equal((await askControl(other, 'admin', '/quitquitquit', 'POST')).status, 200)
  await eventually('the gateway is closed', () => other.gateway.lifecycle.phase === 'closed')
  await other.stop(0)
})
