/** Walk-through 000 as applications live it behind a real program in the sidecar's place. */
import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import type { Harness } from '../../src/testing/harness.ts'
import { type Answer, plainConnect, type RequestOptions, request } from '../../src/testing/mesh-client.ts'
import { createTestPki } from '../../src/testing/pki.ts'
import { httpsOver, type TlsAnswer } from '../scenarios/application-tls.ts'
import { endWith, fields, scenarioFile, startOutside, startScenario } from '../scenarios/scenario.ts'

const HOSTS = ['httpbin.org', 'www.httpbin.org']
export const WORKLOADS = ['mytest/sleep-a', 'default/nginx'] as const
export type Workload = (typeof WORKLOADS)[number]

/** What one workload's application connects to: its sidecar's ports for http:// and https://. */
export type SidecarPorts = { readonly http: number; readonly https: number }
export type Sidecars = Readonly<Record<Workload, SidecarPorts>>

export type Expectations = {
  /** What the sidecar speaks to the gateway for requests. */
  readonly protocol: 'HTTP/1.1' | 'HTTP/2'
  /** Its SNI to gateway ports 80 and 444. */
  readonly sni: Readonly<Record<80 | 444, string>>
}

/** Starts the gateway, then the sidecars, then goes through the page. */
export async function walkThrough000(
  t: TestContext,
  startSidecars: (harness: Harness) => Promise<Sidecars>,
  { protocol, sni }: Expectations,
): Promise<void> {
  const pki = await createTestPki()
  const outside = await startOutside(pki, HOSTS)
  t.after(() => outside.close())
  const harness = endWith(t, await startScenario('seed-000', ['test.yaml', 'added.yaml'], outside, pki))
  const sidecars = await startSidecars(harness)
  const apply = async (policy: string | null) => {
    const text = policy === null ? null : scenarioFile('seed-000', policy, outside, harness.paths.caFile)
    assert.deepEqual((await harness.change({ 'policy.yaml': text })).errors, [])
  }
  const http = (from: Workload, options: RequestOptions = {}, host = 'httpbin.org') =>
    httpAt(sidecars[from].http, host, options)
  const https = (from: Workload, host = 'httpbin.org') => httpsAt(sidecars[from].https, host, pki.root)
  const lastLine = async (count: number) => (await harness.lines(count))[count - 1]

  await t.test('before the policy: 502', async () => {
    for (const workload of WORKLOADS) assert.equal((await http(workload)).status, 502)
  })

  await t.test('http://: the listed workload only, the listed hosts only', async () => {
    await apply('egress-by-egressgateway.yaml')
    const answer = await http('mytest/sleep-a', { path: '/anything' })
    assert.equal(answer.status, 200)
    assert.equal((JSON.parse(answer.body) as { url: string }).url, 'http://httpbin.org/anything')
    const line = await lastLine(3)
    assert.deepEqual(
      fields(line, [
        'protocol',
        'response_code',
        'upstream_cluster',
        'downstream_peer_uri_san',
        'requested_server_name',
      ]),
      [protocol, 200, 'outbound|80||httpbin.org', 'spiffe://cluster.local/ns/mytest/sa/sleep-a', sni[80]],
    )
    const refused = await http('default/nginx')
    assert.deepEqual(
      [refused.status, refused.body, refused.headers['x-sallyport-reason']],
      [502, '', 'caller_not_listed'],
    )
    const unknown = await http('mytest/sleep-a', {}, 'example.org')
    assert.deepEqual([unknown.status, unknown.headers['x-sallyport-reason']], [502, 'not_registered'])
  })

  await t.test('bodies pass both ways', async () => {
    const body = Buffer.alloc(300_000, 'a')
    const answer = await http('mytest/sleep-a', { method: 'POST', path: '/upload', body })
    assert.deepEqual([answer.status, JSON.parse(answer.body)], [200, { bytes: body.length }])
    const download = await http('mytest/sleep-a', { path: '/bytes/300000' })
    assert.deepEqual([download.status, download.body.length, download.complete], [200, 300_000, true])
  })

  await t.test('DENY of POST: 403, GET goes on', async () => {
    const denyPost = scenarioFile('seed-000', 'deny-post.yaml', outside, '')
    assert.deepEqual((await harness.change({ 'deny-post.yaml': denyPost })).errors, [])
    const denied = await http('mytest/sleep-a', { method: 'POST', path: '/anything', body: 'x' })
    assert.deepEqual([denied.status, denied.body], [403, 'RBAC: access denied'])
    assert.equal((await http('mytest/sleep-a')).status, 200)
    assert.deepEqual((await harness.change({ 'deny-post.yaml': null })).errors, [])
  })

  await t.test('httpsUpgrade: https:// outside', async () => {
    await apply('egress-by-egressgateway-https-upgrade.yaml')
    const answer = await http('mytest/sleep-a', { path: '/anything' })
    assert.equal((JSON.parse(answer.body) as { url: string }).url, 'https://httpbin.org/anything')
    assert.equal((await http('default/nginx')).status, 502)
  })

  await t.test('https://: the application’s own TLS through port 444, the listed workload only', async () => {
    await apply('egress-by-egressgateway-tls.yaml')
    const answer = await https('mytest/sleep-a')
    assert.deepEqual([answer.status, answer.certificate.subjectaltname], [200, 'DNS:httpbin.org, DNS:www.httpbin.org'])
    const line = await lastLine(12)
    assert.deepEqual(
      fields(line, ['response_code', 'response_flags', 'upstream_host', 'inner_server_name', 'requested_server_name']),
      [0, '-', `127.0.0.1:${outside.httpsPort}`, 'httpbin.org', sni[444]],
    )
    await assert.rejects(https('default/nginx'), { code: 'ECONNRESET' })
    await assert.rejects(https('mytest/sleep-a', 'example.org'), { code: 'ECONNRESET' })
    assert.equal((await http('mytest/sleep-a')).status, 502)
    const lines = (await harness.lines(15)).slice(12)
    assert.deepEqual(
      lines.map((each) => fields(each, ['response_code', 'upstream_cluster', 'reason'])),
      [
        [0, 'BlackHoleCluster', 'caller_not_listed'],
        [0, 'BlackHoleCluster', 'not_registered'],
        [502, 'BlackHoleCluster', 'not_registered'],
      ],
    )
  })

  await t.test('deleted: refused again', async () => {
    await apply(null)
    await assert.rejects(https('mytest/sleep-a'), { code: 'ECONNRESET' })
    assert.equal((await http('mytest/sleep-a')).status, 502)
  })
  await harness.lines(17)
  await harness.stop(17)
}

async function httpAt(port: number, host: string, options: RequestOptions): Promise<Answer> {
  const socket = await plainConnect(port)
  try {
    return await request(socket, host, options)
  } finally {
    socket.destroy()
  }
}

async function httpsAt(port: number, host: string, ca: string): Promise<TlsAnswer> {
  return httpsOver(await plainConnect(port), host, ca)
}
