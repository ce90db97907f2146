/** curl and openssl where a sidecar would be: by hand over mTLS, and as the applications of walk-through 002. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { type TestContext, test } from 'node:test'
import { createTestPki } from '../../src/testing/pki.ts'
import { stat } from '../integration/operator.ts'
import { outboundSni } from '../scenarios/application-tls.ts'
import { endWith, fields, scenarioFile, startOutside, startScenario } from '../scenarios/scenario.ts'
import { missing, runClient, scratch, type WorkloadFiles, workloadFiles } from './program.ts'

const GATEWAY_NAME = 'istio-egressgateway.istio-system.svc.cluster.local'
const CNN = 'edition.cnn.com'

const noCurl = missing('curl', ['--version'])
const noOpenssl = missing('openssl', ['version'])
const noHttp2 = noCurl || (features().includes('HTTP2') ? false : 'this curl has no HTTP/2')

function features(): string {
  return spawnSync('curl', ['--version'], { encoding: 'utf8' }).stdout ?? ''
}

async function startSeed000(t: TestContext) {
  const pki = await createTestPki()
  const outside = await startOutside(pki, ['httpbin.org', 'www.httpbin.org'])
  t.after(() => outside.close())
  const files = ['test.yaml', 'added.yaml', 'egress-by-egressgateway.yaml']
  const harness = endWith(t, await startScenario('seed-000', files, outside, pki))
  return { harness, outside }
}

for (const [version, protocol, skip] of [
  ['--http1.1', 'HTTP/1.1', noCurl],
  ['--http2', 'HTTP/2', noHttp2],
] as const)
  test(`000 by curl ${version}: allowed, not listed, not registered, denied, upgraded`, { skip }, async (t) => {
    const { harness, outside } = await startSeed000(t)
    const files = scratch(t)
    const [sleep, nginx] = [
      await workloadFiles(files, harness, 'mytest/sleep-a'),
      await workloadFiles(files, harness, 'default/nginx'),
    ]
    const curl = async (svid: WorkloadFiles, host: string, ...more: string[]) => {
      const url = `https://${GATEWAY_NAME}:80/anything`
      const there = ['--connect-to', `${GATEWAY_NAME}:80:127.0.0.1:${harness.gateway.port(80)}`]
      const tls = ['--cert', svid.cert, '--key', svid.key, '--cacert', svid.ca]
      const { code, stdout, stderr } = await runClient('curl', [
        ...['-sS', version, ...there, ...tls, '-H', `Host: ${host}`, '-w', '\n%{http_code}', ...more, url],
      ])
      assert.equal(code, 0, stderr)
      const at = stdout.lastIndexOf('\n')
      return { status: Number(stdout.slice(at + 1)), body: stdout.slice(0, at) }
    }

    const allowed = await curl(sleep, 'httpbin.org')
    assert.equal(allowed.status, 200)
    assert.match(allowed.body, /"url": "http:\/\/httpbin\.org\/anything"/)
    assert.deepEqual(await curl(nginx, 'httpbin.org'), { status: 502, body: '' })
    assert.deepEqual(await curl(sleep, 'example.org'), { status: 502, body: '' })
    const denyPost = scenarioFile('seed-000', 'deny-post.yaml', outside, '')
    const upgrade = scenarioFile('seed-000', 'egress-by-egressgateway-https-upgrade.yaml', outside, '')
    const change = await harness.change({ 'deny-post.yaml': denyPost, 'egress-by-egressgateway.yaml': upgrade })
    assert.deepEqual(change.errors, [])
    assert.deepEqual(await curl(sleep, 'httpbin.org', '-d', 'x'), { status: 403, body: 'RBAC: access denied' })
    assert.match((await curl(sleep, 'httpbin.org')).body, /"url": "https:\/\/httpbin\.org\/anything"/)

    const lines = await harness.lines(5)
    assert.deepEqual(
      lines.map((line) => fields(line, ['protocol', 'response_code', 'reason', 'requested_server_name'])),
      [
        [protocol, 200, null, GATEWAY_NAME],
        [protocol, 502, 'caller_not_listed', GATEWAY_NAME],
        [protocol, 502, 'not_registered', GATEWAY_NAME],
        [protocol, 403, 'rbac_denied', GATEWAY_NAME],
        [protocol, 200, null, GATEWAY_NAME],
      ],
    )
    await harness.stop(5)
  })

test('000 by openssl s_client: Istio’s SNI and ALPN, and nothing without a certificate', {
  skip: noOpenssl,
}, async (t) => {
  const { harness, outside } = await startSeed000(t)
  const svid = await workloadFiles(scratch(t), harness, 'mytest/sleep-a')
  const client = (...more: string[]) =>
    runClient(
      'openssl',
      [
        ...['s_client', '-quiet', '-connect', `127.0.0.1:${harness.gateway.port(80)}`, '-servername', outboundSni(80)],
        ...['-CAfile', svid.ca, '-verify_return_error', '-alpn', 'istio-http/1.1,istio,http/1.1', ...more],
      ],
      'GET /anything HTTP/1.1\r\nHost: httpbin.org\r\nConnection: close\r\n\r\n',
    )
  const { stdout } = await client('-cert', svid.cert, '-key', svid.key)
  assert.match(stdout, /^HTTP\/1\.1 200 OK\r\n/)
  assert.match(stdout, /"url": "http:\/\/httpbin\.org\/anything"/)
  for (const version of ['-tls1_2', '-tls1_3']) assert.equal((await client(version)).stdout, '')
  const lines = await harness.lines(3)
  assert.deepEqual(
    lines.map((line) => fields(line, ['response_code', 'reason', 'requested_server_name'])),
    [
      [200, null, outboundSni(80)],
      [0, 'no_client_certificate', outboundSni(80)],
      [0, 'no_client_certificate', outboundSni(80)],
    ],
  )
  assert.equal(outside.plain.accepted(), 1)
  await harness.stop(3)
})

test('002, PASSTHROUGH, by curl and openssl as on the page: two connections', {
  skip: noCurl || noOpenssl,
}, async (t) => {
  const pki = await createTestPki()
  const outside = await startOutside(pki, [CNN])
  t.after(() => outside.close())
  const resources = ['service-entry.yaml', 'added.yaml', 'egress.yaml']
  const harness = endWith(t, await startScenario('seed-002-tls-passthrough', resources, outside, pki))
  const ca = scratch(t).write('ca.pem', pki.root)
  const port = harness.gateway.port(443)
  const curl = (host: string) =>
    runClient('curl', [
      ...['-sL', '-o', '/dev/null', '-D', '-', '--cacert', ca, '--connect-to', `${host}:443:127.0.0.1:${port}`],
      `https://${host}/politics`,
    ])

  const { code, stdout } = await curl(CNN)
  assert.equal(code, 0)
  assert.match(stdout, /^HTTP\/1\.1 200 OK\r\n/)
  const args = ['s_client', '-connect', `127.0.0.1:${port}`, '-servername', CNN, '-CAfile', ca]
  const shown = await runClient('openssl', args, 'Q\n')
  assert.match(shown.stdout, /CONNECTED\(/)
  assert.match(shown.stdout, /Server certificate\n-----BEGIN CERTIFICATE-----/)
  assert.match(shown.stdout, /Verify return code: 0 \(ok\)/)
  await harness.lines(2)
  assert.equal(await stat(harness, 'cluster.outbound|443||edition.cnn.com.upstream_cx_total'), 2)

  // Walk-through 004 shows the same exit code for a blocked site.
  assert.equal((await curl('www.cnn.com')).code, 35)
  const lines = await harness.lines(3)
  assert.deepEqual(
    lines.map((line) => fields(line, ['response_flags', 'upstream_cluster', 'requested_server_name', 'reason'])),
    [
      ['-', 'outbound|443||edition.cnn.com', CNN, null],
      ['-', 'outbound|443||edition.cnn.com', CNN, null],
      ['NR', null, 'www.cnn.com', 'no_server_for_sni'],
    ],
  )
  await harness.stop(3)
})
