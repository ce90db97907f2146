/** Walk-through 000: ASMEgressTrafficPolicy over mTLS: HTTP, httpsUpgrade, the policy deleted, DENY of POST. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createTestPki } from '../../src/testing/pki.ts'
import { callAs, explained, scenarioFile, startOutside, startScenario } from './scenario.ts'

const SLEEP = 'mytest/sleep-a'
const NGINX = 'default/nginx'
const HOSTS = ['httpbin.org', 'www.httpbin.org']

test('000: HTTP for the listed workload only, and nothing once the policy is deleted', async (t) => {
  const pki = await createTestPki()
  const outside = await startOutside(pki, HOSTS)
  t.after(() => outside.close())
  const harness = await startScenario('seed-000', ['test.yaml', 'added.yaml'], outside, pki)

  await t.test('before the policy both get 502', async () => {
    for (const host of HOSTS) {
      assert.equal((await callAs(harness, SLEEP, host)).status, 502)
      assert.equal((await callAs(harness, NGINX, host)).status, 502)
    }
  })

  await t.test('with it: sleep-a 200, nginx 502, empty body', async () => {
    const { errors } = await harness.change({
      'policy.yaml': scenarioFile('seed-000', 'egress-by-egressgateway.yaml', outside, ''),
    })
    assert.deepEqual(errors, [])
    for (const host of HOSTS) {
      const allowed = await callAs(harness, SLEEP, host, { path: '/anything' })
      assert.equal(allowed.status, 200)
      assert.equal((JSON.parse(allowed.body) as { url: string }).url, `http://${host}/anything`)
      const refused = await callAs(harness, NGINX, host)
      assert.deepEqual(
        [refused.status, refused.body, refused.headers['x-sallyport-reason']],
        [502, '', 'caller_not_listed'],
      )
      assert.equal((await explained(harness, SLEEP, 'GET', `http://${host}/anything`)).code, 0)
      const why = await explained(harness, NGINX, 'GET', `http://${host}/`)
      assert.deepEqual([why.code, why.result.status, why.result.reason], [1, 502, 'caller_not_listed'])
    }
    const lines = await harness.lines(8)
    const [ok, no] = lines.slice(4)
    assert.deepEqual(
      [
        ok?.['response_code'],
        ok?.['upstream_cluster'],
        ok?.['upstream_host'],
        ok?.['downstream_peer_uri_san'],
        ok?.['source_namespace'],
        ok?.['response_flags'],
        ok?.['reason'],
      ],
      [
        200,
        'outbound|80||httpbin.org',
        `127.0.0.1:${outside.httpPort}`,
        'spiffe://cluster.local/ns/mytest/sa/sleep-a',
        'mytest',
        '-',
        null,
      ],
    )
    assert.deepEqual(
      [
        no?.['response_code'],
        no?.['upstream_cluster'],
        no?.['route_name'],
        no?.['upstream_host'],
        no?.['reason'],
        no?.['source_namespace'],
      ],
      [502, 'BlackHoleCluster', 'block_all', null, 'caller_not_listed', 'default'],
    )
  })

  await t.test('deleted: 502 again', async () => {
    assert.ok((await harness.change({ 'policy.yaml': null })).ok)
    const gone = await callAs(harness, SLEEP, 'httpbin.org')
    assert.deepEqual([gone.status, gone.body, gone.headers['x-sallyport-reason']], [502, '', 'not_registered'])
    assert.equal((await explained(harness, SLEEP, 'GET', 'http://httpbin.org/')).result.status, 502)
  })
  await harness.stop(9)
})

test('000: httpsUpgrade turns http:// into https:// outside', async (t) => {
  const pki = await createTestPki()
  const outside = await startOutside(pki, HOSTS)
  t.after(() => outside.close())
  const harness = await startScenario(
    'seed-000',
    ['test.yaml', 'added.yaml', 'egress-by-egressgateway-https-upgrade.yaml'],
    outside,
    pki,
  )
  const answer = await callAs(harness, SLEEP, 'httpbin.org', { path: '/anything' })
  assert.equal(answer.status, 200)
  const echo = JSON.parse(answer.body) as { url: string; headers: Record<string, string> }
  assert.equal(echo.url, 'https://httpbin.org/anything')
  assert.ok(!Object.keys(echo.headers).some((name) => /^x-(envoy|forwarded)/i.test(name)), 'nothing of the mesh leaks')
  assert.deepEqual(outside.plain.requests, [])
  assert.equal((await callAs(harness, NGINX, 'httpbin.org')).status, 502)
  const [line] = await harness.lines(1)
  assert.deepEqual(
    [line?.['upstream_cluster'], line?.['upstream_host']],
    ['outbound|443||httpbin.org', `127.0.0.1:${outside.httpsPort}`],
  )
  const { result } = await explained(harness, SLEEP, 'GET', 'http://httpbin.org/anything')
  assert.deepEqual([result.allowed, result.cluster], [true, 'outbound|443||httpbin.org'])
  await harness.stop(2)
})

test('000: DENY of POST from mytest; GET goes on', async (t) => {
  const pki = await createTestPki()
  const outside = await startOutside(pki, HOSTS)
  t.after(() => outside.close())
  const harness = await startScenario(
    'seed-000',
    ['test.yaml', 'added.yaml', 'egress-by-egressgateway.yaml', 'deny-post.yaml'],
    outside,
    pki,
  )
  assert.equal((await callAs(harness, SLEEP, 'www.httpbin.org')).status, 200)
  const denied = await callAs(harness, SLEEP, 'www.httpbin.org', { method: 'POST', body: 'x', path: '/anything' })
  assert.deepEqual(
    [
      denied.status,
      denied.body,
      denied.headers['content-type'],
      denied.headers['content-length'],
      denied.headers['x-sallyport-reason'],
    ],
    [403, 'RBAC: access denied', 'text/plain', '19', 'rbac_denied'],
  )
  // The port in Host is no way round the rule (behaviour §1.4).
  assert.equal((await callAs(harness, SLEEP, 'www.httpbin.org:80', { method: 'POST', body: 'x' })).status, 403)
  const { code, result } = await explained(harness, SLEEP, 'POST', 'http://www.httpbin.org/anything')
  assert.equal(code, 1)
  assert.match(
    result.decidedBy ?? '',
    /^ns\[istio-system\]-policy\[sleep-a-egress-www-httpbin-org\]-rule\[0\] at .*deny-post\.yaml:\d+:\d+$/,
  )
  const line = (await harness.lines(2))[1]
  assert.deepEqual(
    [
      'response_code',
      'response_flags',
      'response_code_details',
      'bytes_sent',
      'upstream_host',
      'upstream_cluster',
      'authz_decision',
      'authz_policy',
      'reason',
    ].map((key) => line?.[key]),
    [
      403,
      '-',
      'rbac_access_denied_matched_policy[ns[istio-system]-policy[sleep-a-egress-www-httpbin-org]-rule[0]]',
      19,
      null,
      'outbound|80||www.httpbin.org',
      'deny',
      'ns[istio-system]-policy[sleep-a-egress-www-httpbin-org]-rule[0]',
      'rbac_denied',
    ],
  )
  assert.deepEqual(outside.plain.requests, ['GET /'])
  await harness.stop(3)
})
