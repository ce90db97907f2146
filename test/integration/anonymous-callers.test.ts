/**
 * Callers without a certificate under AuthorizationPolicy (behaviour §1.3): identity fields never match them, and their
 * `not` twins always do, so that `notNamespaces` alone admits everybody whom nobody knows. As Istio, and tested as such.
 */
import assert from 'node:assert/strict'
import { gatewayYaml, MESH_SERVER, policyYaml, siteYaml } from '../../src/testing/egress-resources.ts'
import { startHarness } from '../../src/testing/harness.ts'
import { meshConnect, plainConnect, request } from '../../src/testing/mesh-client.ts'
import { startEchoOrigin } from '../../src/testing/origin.ts'
import { test } from './engines.ts'

const HOST = 'site.example'
const SLEEP = 'cluster.local/ns/apps/sa/sleep'

type Row = readonly [
  action: 'ALLOW' | 'DENY',
  source: Readonly<Record<string, readonly string[]>>,
  anonymous: number,
  sleep: number,
]

/** Status for a plaintext caller, and for `apps/sleep` over mTLS. */
const ROWS: readonly Row[] = [
  ['ALLOW', { namespaces: ['apps'] }, 403, 200],
  ['ALLOW', { namespaces: ['*'] }, 403, 200],
  ['ALLOW', { notNamespaces: ['bad'] }, 200, 200],
  ['ALLOW', { notNamespaces: ['apps'] }, 200, 403],
  ['ALLOW', { principals: ['*'] }, 403, 200],
  ['ALLOW', { principals: [SLEEP] }, 403, 200],
  ['ALLOW', { notPrincipals: [SLEEP] }, 200, 403],
  ['ALLOW', { notPrincipals: ['*'] }, 200, 403],
  ['ALLOW', { serviceAccounts: ['apps/sleep'] }, 403, 200],
  ['ALLOW', { notServiceAccounts: ['apps/sleep'] }, 200, 403],
  ['ALLOW', { ipBlocks: ['127.0.0.0/8'] }, 200, 200],
  ['ALLOW', { notIpBlocks: ['127.0.0.1'] }, 403, 403],
  ['ALLOW', { ipBlocks: ['127.0.0.1'], principals: ['*'] }, 403, 200],
  ['DENY', { namespaces: ['apps'] }, 200, 403],
  ['DENY', { namespaces: ['*'] }, 200, 403],
  ['DENY', { notNamespaces: ['apps'] }, 403, 200],
  ['DENY', { notNamespaces: ['bad'] }, 403, 403],
  ['DENY', { principals: ['*'] }, 200, 403],
  ['DENY', { notPrincipals: ['*'] }, 403, 200],
  ['DENY', { notPrincipals: [SLEEP] }, 403, 200],
  ['DENY', { serviceAccounts: ['apps/sleep'] }, 200, 403],
  ['DENY', { notServiceAccounts: ['apps/sleep'] }, 403, 200],
  ['DENY', { remoteIpBlocks: ['127.0.0.1'] }, 403, 403],
]

test('each source field, for a plaintext caller and for one with an identity', async (t) => {
  const origin = await startEchoOrigin()
  const servers = [MESH_SERVER, { port: 443, name: 'plain', protocol: 'HTTP' }]
  const harness = await startHarness({
    resources: { 'all.yaml': `${gatewayYaml(servers)}---\n${siteYaml(HOST, origin.port)}` },
  })
  t.after(async () => {
    await harness.gateway.destroy()
    await origin.close()
  })
  const anonymous = await plainConnect(harness.gateway.port(443))
  const sleep = await meshConnect({
    port: harness.gateway.port(80),
    svid: await harness.pki.svid('apps/sleep'),
    ca: harness.pki.root,
  })
  assert.deepEqual(
    [(await request(anonymous, HOST)).status, (await request(sleep, HOST)).status],
    [200, 200],
    'no policy',
  )
  for (const [action, source, ...expected] of ROWS) {
    const { ok, errors } = await harness.change({ 'policy.yaml': policyYaml('p', action, [{ from: [{ source }] }]) })
    assert.ok(ok, errors.join('\n'))
    const seen = [(await request(anonymous, HOST)).status, (await request(sleep, HOST)).status]
    assert.deepEqual(seen, expected, `${action} ${JSON.stringify(source)}`)
  }
  anonymous.destroy()
  sleep.destroy()
  const count = 2 * ROWS.length + 2
  const lines = await harness.lines(count)
  for (const [i, [action, , ...expected]] of ROWS.entries()) {
    for (const [j, status] of expected.entries()) {
      const line = lines[2 * i + 2 + j]
      assert.deepEqual(
        [line?.['response_code'], line?.['authz_decision'], line?.['downstream_peer_uri_san']],
        [status, status === 200 ? 'allow' : 'deny', j === 0 ? null : `spiffe://${SLEEP}`],
      )
      const policy = status === 403 && action === 'DENY' ? 'ns[istio-system]-policy[p]-rule[0]' : 'none'
      if (status === 403) assert.equal(line?.['response_code_details'], `rbac_access_denied_matched_policy[${policy}]`)
    }
  }
  await harness.stop(count)
})

test('conditions on the TLS name: a caller without TLS has none', async (t) => {
  const origin = await startEchoOrigin()
  const harness = await startHarness({
    resources: {
      'all.yaml': `${gatewayYaml([{ port: 443, name: 'plain', protocol: 'HTTP' }])}---\n${siteYaml(HOST, origin.port)}`,
      'policy.yaml': policyYaml('p', 'ALLOW', [{ when: [{ key: 'connection.sni', values: ['*'] }] }]),
    },
  })
  t.after(async () => {
    await harness.gateway.destroy()
    await origin.close()
  })
  const socket = await plainConnect(harness.gateway.port(443))
  assert.equal((await request(socket, HOST)).status, 403)
  const change = await harness.change({
    'policy.yaml': policyYaml('p', 'DENY', [{ when: [{ key: 'source.principal', notValues: [SLEEP] }] }]),
  })
  assert.ok(change.ok, change.errors.join('\n'))
  assert.equal((await request(socket, HOST)).status, 403)
  socket.destroy()
  await harness.stop(2)
})
