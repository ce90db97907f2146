/**
 * Walk-through 000, HTTPS, solution 2 (pattern C): the application's own TLS through gateway port 444. The page leaves open
 * how a sidecar sends it there (behaviour §6.5): wrapped in its mTLS, which proves who calls, or as it is, which does not.
 */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import type { Harness } from '../../src/testing/harness.ts'
import { createTestPki, type TestPki } from '../../src/testing/pki.ts'
import { httpsDirect, httpsInMesh, outboundSni } from './application-tls.ts'
import {
  callAs,
  endWith,
  explainedTunnel,
  fields,
  type Outside,
  scenarioFile,
  startOutside,
  startScenario,
} from './scenario.ts'

const SLEEP = 'mytest/sleep-a'
const NGINX = 'default/nginx'
const HOSTS = ['httpbin.org', 'www.httpbin.org']
const POLICY = 'egress-by-egressgateway-tls.yaml'

/** What an application sees of a refusal: curl calls it exit code 35. */
const CUT = { code: 'ECONNRESET' }

/** What every record of a refused tunnel says: the page shows UH and BlackHoleCluster, in the sidecar's log. */
const REFUSED = ['response_code', 'response_flags', 'upstream_cluster', 'upstream_host', 'bytes_sent', 'reason']

async function start(
  t: TestContext,
  outside: Outside,
  pki: TestPki,
  edit?: (bootstrap: string) => string,
): Promise<Harness> {
  const files = ['test.yaml', 'added-tls.yaml', POLICY]
  return endWith(t, await startScenario('seed-000', files, outside, pki, edit))
}

test('000: TLS in mTLS on port 444 for the listed workload only, and nothing once the policy is deleted', async (t) => {
  const pki = await createTestPki()
  const outside = await startOutside(pki, HOSTS)
  t.after(() => outside.close())
  const harness = await start(t, outside, pki)

  await t.test('sleep-a: 200, end to end with the site’s own certificate', async () => {
    for (const host of HOSTS) {
      const answer = await httpsInMesh(harness, SLEEP, host, { gatewayPort: 444, request: { path: '/anything' } })
      assert.equal(answer.status, 200)
      assert.equal((JSON.parse(answer.body) as { url: string }).url, `https://${host}/anything`)
      assert.equal(answer.certificate.subjectaltname, 'DNS:httpbin.org, DNS:www.httpbin.org')
    }
    const [line] = await harness.lines(2)
    assert.deepEqual(
      fields(line, [
        ...['method', 'path', 'protocol', 'response_code', 'response_flags', 'response_code_details', 'authority'],
        ...['upstream_cluster', 'upstream_host', 'requested_server_name', 'inner_server_name'],
        ...['downstream_peer_uri_san', 'authz_decision', 'reason'],
      ]),
      [
        ...[null, null, null, 0, '-', null, null],
        ...['outbound|443||httpbin.org', `127.0.0.1:${outside.httpsPort}`, outboundSni(444), 'httpbin.org'],
        ...['spiffe://cluster.local/ns/mytest/sa/sleep-a', 'none', null],
      ],
    )
    for (const key of ['bytes_received', 'bytes_sent']) assert.ok(Number(line?.[key]) > 500, key)
  })

  await t.test('the sidecar may name the host outside too; another name is refused', async () => {
    const named = await httpsInMesh(harness, SLEEP, 'httpbin.org', { gatewayPort: 444, outerSni: 'httpbin.org' })
    assert.equal(named.status, 200)
    const lie = httpsInMesh(harness, SLEEP, 'httpbin.org', { gatewayPort: 444, outerSni: 'www.httpbin.org' })
    await assert.rejects(lie, CUT)
    const line = (await harness.lines(4))[3]
    assert.deepEqual(fields(line, ['response_code', 'upstream_host', 'reason']), [0, null, 'sni_mismatch'])
  })

  await t.test('http:// is not listed any more: 502', async () => {
    assert.equal((await callAs(harness, SLEEP, 'httpbin.org')).status, 502)
    assert.equal((await callAs(harness, NGINX, 'httpbin.org')).status, 502)
  })

  await t.test('nginx, and a host that is not listed: cut, UH, BlackHoleCluster', async () => {
    await assert.rejects(httpsInMesh(harness, NGINX, 'www.httpbin.org', { gatewayPort: 444 }), CUT)
    await assert.rejects(httpsInMesh(harness, SLEEP, 'example.org', { gatewayPort: 444 }), CUT)
    for (const [from, host, reason] of [
      [SLEEP, 'www.httpbin.org', null],
      [NGINX, 'www.httpbin.org', 'caller_not_listed'],
      [SLEEP, 'example.org', 'not_registered'],
    ] as const) {
      const { code, result } = await explainedTunnel(harness, from, 444, `tls://${host}`)
      assert.deepEqual([code, result.reason], [reason === null ? 0 : 1, reason], `explain: ${from} ${host}`)
    }
    const lines = (await harness.lines(8)).slice(6)
    assert.deepEqual(
      lines.map((line) => fields(line, REFUSED)),
      [
        [0, 'UH', 'BlackHoleCluster', null, 0, 'caller_not_listed'],
        [0, 'UH', 'BlackHoleCluster', null, 0, 'not_registered'],
      ],
    )
  })

  await t.test('requests in the mTLS of port 444: as unregistered', async () => {
    const answer = await callAs(harness, SLEEP, 'httpbin.org', {}, 444)
    assert.deepEqual([answer.status, answer.body], [502, ''])
  })

  await t.test('deleted: cut, UH, BlackHoleCluster', async () => {
    assert.ok((await harness.change({ [POLICY]: null })).ok)
    await assert.rejects(httpsInMesh(harness, SLEEP, 'www.httpbin.org', { gatewayPort: 444 }), CUT)
    assert.equal((await callAs(harness, SLEEP, 'www.httpbin.org')).status, 502)
    assert.equal((await explainedTunnel(harness, SLEEP, 444, 'tls://www.httpbin.org')).result.reason, 'not_registered')
    const line = (await harness.lines(10))[9]
    assert.deepEqual(fields(line, REFUSED), [0, 'UH', 'BlackHoleCluster', null, 0, 'not_registered'])
  })
  assert.equal(outside.secure.accepted(), 3, 'nothing that was refused has been dialled')
  await harness.stop(11)
})

test('000: TLS without mTLS on port 444 is refused by default, because `from` cannot be proved', async (t) => {
  const pki = await createTestPki()
  const outside = await startOutside(pki, HOSTS)
  t.after(() => outside.close())
  const harness = await start(t, outside, pki)
  await assert.rejects(
    httpsDirect(harness, 'httpbin.org', { gatewayPort: 444 }),
    { code: 'ERR_TLS_CERT_ALTNAME_INVALID' },
    'the gateway itself answers, with its own certificate',
  )
  const [line] = await harness.lines(1)
  assert.deepEqual(fields(line, REFUSED), [0, 'DC', null, null, 0, null])
  assert.equal(outside.secure.accepted(), 0)
  await harness.stop(1)
})

test('000: with unauthenticatedPassthrough it is passed through on its SNI, for anybody', async (t) => {
  const pki = await createTestPki()
  const outside = await startOutside(pki, HOSTS)
  t.after(() => outside.close())
  const harness = await start(t, outside, pki, (bootstrap) => `${bootstrap}  unauthenticatedPassthrough: allow\n`)
  for (const host of HOSTS) {
    const answer = await httpsDirect(harness, host, { gatewayPort: 444 })
    assert.deepEqual([answer.status, answer.certificate.subjectaltname], [200, 'DNS:httpbin.org, DNS:www.httpbin.org'])
  }
  // Beside it, mTLS still proves who calls.
  assert.equal((await httpsInMesh(harness, SLEEP, 'httpbin.org', { gatewayPort: 444 })).status, 200)
  await assert.rejects(httpsInMesh(harness, NGINX, 'httpbin.org', { gatewayPort: 444 }), CUT)
  await assert.rejects(httpsDirect(harness, 'example.org', { gatewayPort: 444 }), {
    code: 'ERR_TLS_CERT_ALTNAME_INVALID',
  })
  const [line] = await harness.lines(5)
  assert.deepEqual(
    fields(line, [
      ...['response_code', 'response_flags', 'upstream_cluster', 'upstream_host', 'requested_server_name'],
      ...['inner_server_name', 'downstream_peer_uri_san', 'reason'],
    ]),
    [0, '-', 'outbound|443||httpbin.org', `127.0.0.1:${outside.httpsPort}`, 'httpbin.org', null, null, null],
  )
  assert.equal(outside.secure.accepted(), 3)
  await harness.stop(5)
})

test('000: a DestinationRule made for httpsUpgrade does not wrap the application’s TLS', async (t) => {
  const pki = await createTestPki()
  const outside = await startOutside(pki, HOSTS)
  t.after(() => outside.close())
  const harness = endWith(t, await startScenario('seed-000', ['test.yaml', 'added.yaml', POLICY], outside, pki))
  const answer = await httpsInMesh(harness, SLEEP, 'httpbin.org', { gatewayPort: 444 })
  assert.deepEqual([answer.status, answer.certificate.subjectaltname], [200, 'DNS:httpbin.org, DNS:www.httpbin.org'])
  await harness.stop(1)
})

test('000: the DENY of POST covers whole tunnels on port 444, and the load says so', async (t) => {
  const pki = await createTestPki()
  const outside = await startOutside(pki, HOSTS)
  t.after(() => outside.close())
  const harness = await start(t, outside, pki)
  assert.equal((await httpsInMesh(harness, SLEEP, 'httpbin.org', { gatewayPort: 444 })).status, 200)
  const denyPost = scenarioFile('seed-000', 'deny-post.yaml', outside, '')
  assert.ok((await harness.change({ 'deny-post.yaml': denyPost })).ok)
  await eventually('a warning that names port 444', () =>
    harness.log().some(({ message }) => /deny-post\.yaml:\d+:\d+ warning SP\d+ .*444/.test(String(message))),
  )

  // Neither host nor method is visible: what is left of the rule is its namespace (behaviour §1.6, §12 row 13).
  await assert.rejects(httpsInMesh(harness, SLEEP, 'httpbin.org', { gatewayPort: 444 }), CUT)
  const line = (await harness.lines(2))[1]
  const id = 'ns[istio-system]-policy[sleep-a-egress-www-httpbin-org]-rule[0]'
  assert.deepEqual(
    fields(line, [
      ...['response_code', 'response_flags', 'response_code_details', 'connection_termination_details'],
      ...['upstream_host', 'authz_decision', 'authz_policy', 'reason'],
    ]),
    [0, '-', null, `rbac_access_denied_matched_policy[${id}]`, null, 'deny', id, 'rbac_denied'],
  )
  assert.equal(outside.secure.accepted(), 1)
  await harness.stop(2)
})
