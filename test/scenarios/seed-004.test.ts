/**
 * Walk-through 004: ALLOW_ANY and REGISTRY_ONLY, two ServiceEntries, a timeout. On the page the sidecar itself leaves the
 * mesh, so its log and Mixer's are the sidecar's; here the same registry decides at the gateway it sends everything to.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:https'
import { test } from 'node:test'
import { startDnsServer } from '../../src/testing/dns-server.ts'
import { eventually } from '../../src/testing/eventually.ts'
import { createTestPki } from '../../src/testing/pki.ts'
import { httpsInMesh } from './application-tls.ts'
import { callAs, endWith, fields, scenarioFile, startOutside, startScenario } from './scenario.ts'

const SLEEP = 'default/sleep'
const CUT = { code: 'ECONNRESET' }
/** Not 127.0.0.1, so that port 443 is free there. */
const ELSEWHERE = '127.0.43.4'

test('004: REGISTRY_ONLY blocks what no ServiceEntry names, and each entry opens one host', async (t) => {
  const pki = await createTestPki()
  const outside = await startOutside(pki, ['www.google.com', 'edition.cnn.com'])
  t.after(() => outside.close())
  const seed = 'seed-004-registry-only'
  const harness = endWith(t, await startScenario(seed, ['added.yaml'], outside, pki))
  const apply = async (...files: string[]) => {
    const texts = files.map((file) => [file, scenarioFile(seed, file, outside, '')])
    assert.deepEqual(await harness.change(Object.fromEntries(texts)).then(({ errors }) => errors), [])
  }

  await t.test('before: https to both sites ends with curl’s exit code 35, http with 502', async () => {
    for (const host of ['www.google.com', 'edition.cnn.com'])
      await assert.rejects(httpsInMesh(harness, SLEEP, host, { gatewayPort: 443 }), CUT)
    assert.equal((await callAs(harness, SLEEP, 'httpbin.org', { path: '/headers' })).status, 502)
    const lines = await harness.lines(3)
    assert.deepEqual(
      lines.map((line) => fields(line, ['response_code', 'response_flags', 'upstream_cluster', 'inner_server_name'])),
      [
        [0, 'UH', 'BlackHoleCluster', 'www.google.com'],
        [0, 'UH', 'BlackHoleCluster', 'edition.cnn.com'],
        [502, '-', 'BlackHoleCluster', null],
      ],
    )
  })

  await t.test('the HTTP service: 200, and nothing of the mesh in its headers', async () => {
    await apply('service-entry-http.yaml', 'added-http.yaml')
    const headers = { 'user-agent': 'curl/7.60.0', 'x-envoy-decorator-operation': 'httpbin.org:80/*' }
    const answer = await callAs(harness, SLEEP, 'httpbin.org', { path: '/headers', headers })
    assert.equal(answer.status, 200)
    const echo = JSON.parse(answer.body) as { headers: Record<string, string> }
    assert.deepEqual([echo.headers['Host'], echo.headers['User-Agent']], ['httpbin.org', 'curl/7.60.0'])
    // The page's httpbin shows X-Envoy-Decorator-Operation: Istio lets it out, we do not (behaviour §7.4).
    assert.deepEqual(
      Object.keys(echo.headers).filter((name) => /^x-(envoy|forwarded)/i.test(name)),
      [],
    )
    const line = (await harness.lines(4))[3]
    assert.deepEqual(
      fields(line, [
        ...['method', 'path', 'protocol', 'response_code', 'response_flags', 'bytes_received', 'user_agent'],
        ...['authority', 'upstream_host', 'upstream_cluster'],
      ]),
      [
        ...['GET', '/headers', 'HTTP/1.1', 200, '-', 0, 'curl/7.60.0'],
        ...['httpbin.org', `127.0.0.1:${outside.httpPort}`, 'outbound|80||httpbin.org'],
      ],
    )
    assert.equal(line?.['bytes_sent'], answer.body.length)
  })

  await t.test('the HTTPS service: 200, the other site is still blocked', async () => {
    await apply('service-entry-https.yaml', 'added-https.yaml')
    const answer = await httpsInMesh(harness, SLEEP, 'www.google.com', {
      gatewayPort: 443,
      request: { method: 'HEAD' },
    })
    assert.equal(answer.status, 200)
    await assert.rejects(httpsInMesh(harness, SLEEP, 'edition.cnn.com', { gatewayPort: 443 }), CUT)
    const lines = (await harness.lines(6)).slice(4)
    assert.deepEqual(
      lines.map((line) =>
        fields(line, ['method', 'response_code', 'response_flags', 'upstream_host', 'upstream_cluster', 'authority']),
      ),
      [
        [null, 0, '-', `127.0.0.1:${outside.httpsPort}`, 'outbound|443||www.google.com', null],
        [null, 0, 'UH', null, 'BlackHoleCluster', null],
      ],
    )
  })

  await t.test('cleaned up: blocked again', async () => {
    const files = ['service-entry-http.yaml', 'added-http.yaml', 'service-entry-https.yaml', 'added-https.yaml']
    assert.ok((await harness.change(Object.fromEntries(files.map((file) => [file, null])))).ok)
    assert.equal((await callAs(harness, SLEEP, 'httpbin.org', { path: '/headers' })).status, 502)
    await assert.rejects(httpsInMesh(harness, SLEEP, 'www.google.com', { gatewayPort: 443 }), CUT)
  })
  await harness.stop(8)
})

test('004: ALLOW_ANY lets every name out, resolved by the gateway, through the address guard', async (t) => {
  const pki = await createTestPki()
  const outside = await startOutside(pki, ['www.google.com'])
  t.after(() => outside.close())
  const names: Readonly<Record<string, string>> = {
    'httpbin.org': '127.0.0.1',
    'www.google.com': ELSEWHERE,
    'metadata.example': '169.254.169.254',
  }
  const dns = await startDnsServer(({ name, type }) =>
    names[name] === undefined
      ? { kind: 'rcode', code: 'NXDOMAIN' }
      : { kind: 'answer', addresses: type === 'A' ? [names[name]] : [], ttl: 60 },
  )
  t.after(() => dns.close())
  const harness = endWith(
    t,
    await startScenario('seed-004-allow-any', ['added.yaml'], outside, pki, (bootstrap) =>
      bootstrap.replace('DNS_SERVER', dns.address),
    ),
  )

  let listened = false
  await t.test('http:// to the port of the authority', async () => {
    const answer = await callAs(harness, SLEEP, `httpbin.org:${outside.httpPort}`, { path: '/headers' })
    assert.equal(answer.status, 200)
    const [line] = await harness.lines(1)
    assert.deepEqual(fields(line, ['response_code', 'upstream_host', 'upstream_cluster', 'reason']), [
      200,
      `127.0.0.1:${outside.httpPort}`,
      'PassthroughCluster',
      null,
    ])
  })

  await t.test('but not to addresses that nobody may dial', async () => {
    const answer = await callAs(harness, SLEEP, 'metadata.example')
    assert.deepEqual([answer.status, answer.headers['x-sallyport-reason']], [403, 'address_denied'])
    await assert.rejects(httpsInMesh(harness, SLEEP, 'metadata.example', { gatewayPort: 443 }), CUT)
    const lines = (await harness.lines(3)).slice(1)
    assert.deepEqual(
      lines.map((line) => fields(line, ['upstream_host', 'upstream_cluster', 'reason'])),
      [
        [null, 'PassthroughCluster', 'address_denied'],
        [null, 'PassthroughCluster', 'address_denied'],
      ],
    )
  })

  await t.test('https:// to port 443 of the SNI', async (sub) => {
    const certificate = await pki.serverCert('www.google.com')
    const google = createServer({ cert: certificate.cert, key: certificate.key }, (_, response) => void response.end())
    listened = await new Promise<boolean>((resolve) => {
      google.once('error', () => resolve(false)).listen(443, ELSEWHERE, () => resolve(true))
    })
    if (!listened) return sub.skip(`needs to listen on ${ELSEWHERE}:443`)
    try {
      const head = { gatewayPort: 443, request: { method: 'HEAD' } }
      assert.equal((await httpsInMesh(harness, SLEEP, 'www.google.com', head)).status, 200)
    } finally {
      google.closeAllConnections()
      google.close()
      await once(google, 'close')
    }
    const line = (await harness.lines(4))[3]
    assert.deepEqual(fields(line, ['response_code', 'response_flags', 'upstream_host', 'upstream_cluster']), [
      0,
      '-',
      `${ELSEWHERE}:443`,
      'PassthroughCluster',
    ])
  })
  await harness.stop(listened ? 4 : 3)
})

test('004: a timeout of 3 s on the gateway answers 504 while the site takes 5 s', async (t) => {
  const pki = await createTestPki()
  const outside = await startOutside(pki, ['httpbin.org'])
  t.after(() => outside.close())
  const seed = 'seed-004-timeout'
  const files = ['service-entry-http.yaml', 'added.yaml', 'virtual-service.yaml', 'added-route.yaml']
  const harness = endWith(t, await startScenario(seed, files, outside, pki))
  // The page's own VirtualService has no `gateways`: it is the sidecar's timeout, the gateway waits (200 after 5 s there).
  const patient = callAs(harness, SLEEP, 'httpbin.org', { path: '/delay/5' })
  await eventually('the site has the request', () => outside.plain.requests.length === 1)

  const startedAt = performance.now()
  const change = await harness.change({
    'added-route.yaml': null,
    'added-timeout.yaml': scenarioFile(seed, 'added-timeout.yaml', outside, ''),
  })
  assert.deepEqual(change.errors, [])
  const answer = await callAs(harness, SLEEP, 'httpbin.org', { path: '/delay/5' })
  const seconds = (performance.now() - startedAt) / 1000
  assert.deepEqual([answer.status, answer.body], [504, 'upstream request timeout'])
  assert.ok(seconds >= 3 && seconds < 5, `after ${seconds} s`)
  const [line] = await harness.lines(1)
  assert.deepEqual(
    fields(line, ['response_code', 'response_flags', 'response_code_details', 'upstream_cluster', 'path']),
    [504, 'UT', 'response_timeout', 'outbound|80||httpbin.org', '/delay/5'],
  )
  const duration = Number(line?.['duration'])
  assert.ok(duration >= 3000 && duration < 5000, `duration ${duration}`)

  // It had been judged before the reload, and is not cut by the new timeout.
  assert.equal((await patient).status, 200)
  await harness.stop(2)
})
