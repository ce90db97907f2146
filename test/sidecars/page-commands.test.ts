/** What the pages' readers type, and what they are shown: curl and openssl as walk-through 002 has them, and without a certificate. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createTestPki } from '../../src/testing/pki.ts'
import { stat } from '../integration/operator.ts'
import { outboundSni } from '../scenarios/application-tls.ts'
import { endWith, fields, startOutside, startScenario } from '../scenarios/scenario.ts'
import { missing, runClient, scratch } from './program.ts'

const CNN = 'edition.cnn.com'

const noCurl = missing('curl', ['--version'])
const noOpenssl = missing('openssl', ['version'])

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
  await harness.lines(3)
  await harness.stop(3)
})

test('nothing without a certificate, in TLS 1.2 and in TLS 1.3', { skip: noOpenssl }, async (t) => {
  const pki = await createTestPki()
  const outside = await startOutside(pki, ['httpbin.org'])
  t.after(() => outside.close())
  const resources = ['test.yaml', 'added.yaml', 'egress-by-egressgateway.yaml']
  const harness = endWith(t, await startScenario('seed-000', resources, outside, pki))
  const ca = scratch(t).write('ca.pem', pki.root)
  const address = `127.0.0.1:${harness.gateway.port(80)}`
  const args = ['s_client', '-quiet', '-connect', address, '-servername', outboundSni(80), '-CAfile', ca]
  for (const version of ['-tls1_2', '-tls1_3']) {
    const { stdout, stderr } = await runClient(
      'openssl',
      [...args, version],
      'GET / HTTP/1.1\r\nHost: httpbin.org\r\n\r\n',
    )
    assert.equal(stdout, '')
    assert.match(stderr, /verify return:1/, 'the handshake came to the certificates')
  }
  const lines = await harness.lines(2)
  assert.deepEqual(
    lines.map((line) => fields(line, ['response_code', 'reason', 'requested_server_name', 'downstream_peer_uri_san'])),
    ['-tls1_2', '-tls1_3'].map(() => [0, 'no_client_certificate', outboundSni(80), null]),
  )
  assert.equal(outside.plain.accepted(), 0)
  await harness.stop(2)
})
