/** What a gRPC caller sees when the gateway itself answers (behaviour §1.8, §10.2): HTTP 200, trailers-only, a status. */
import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { gatewayYaml, policyYaml, siteYaml } from '../../src/testing/egress-resources.ts'
import { h2Request, meshH2 } from '../../src/testing/h2-client.ts'
import { END_HEADERS, END_STREAM, FRAME, FrameClient, frame, headerBlock } from '../../src/testing/h2-frames.ts'
import { type Harness, startHarness } from '../../src/testing/harness.ts'
import { meshConnect, request } from '../../src/testing/mesh-client.ts'
import { startEchoOrigin } from '../../src/testing/origin.ts'
import { test } from './engines.ts'

const HOST = 'grpc.example'
/** One empty message: flag and length. */
const CALL = {
  method: 'POST',
  path: '/pkg.Service/Call',
  headers: { 'content-type': 'application/grpc+proto', te: 'trailers' },
  body: Buffer.alloc(5),
}

async function start(
  t: TestContext,
  resources: readonly string[],
): Promise<{ harness: Harness; mesh: Parameters<typeof meshH2>[0] }> {
  const origin = await startEchoOrigin()
  const harness = await startHarness({
    resources: { 'all.yaml': [gatewayYaml(), siteYaml(HOST, origin.port), ...resources].join('---\n') },
  })
  t.after(async () => {
    assert.equal(origin.requests.length, 0)
    await harness.gateway.destroy()
    await origin.close()
  })
  return {
    harness,
    mesh: { port: harness.gateway.port(80), svid: await harness.pki.svid('apps/sleep'), ca: harness.pki.root },
  }
}

test('refused by policy: 200, grpc-status 7, the message, no body, one END_STREAM on the head', async (t) => {
  const { harness, mesh } = await start(t, [
    policyYaml('no-grpc', 'DENY', [{ to: [{ operation: { hosts: [HOST] } }] }]),
  ])
  const session = await meshH2(mesh)
  const answer = await h2Request(session, HOST, CALL)
  assert.deepEqual(
    Object.entries(answer.headers)
      .filter(([name]) => name !== 'date')
      .toSorted(([a], [b]) => (a < b ? -1 : 1)),
    [
      [':status', 200],
      ['content-type', 'application/grpc'],
      ['grpc-message', 'RBAC: access denied'],
      ['grpc-status', '7'],
      ['server', 'sallyport'],
      ['x-sallyport-reason', 'rbac_denied'],
    ],
  )
  assert.equal(typeof answer.headers['date'], 'string')
  assert.deepEqual([answer.body.length, answer.trailers, answer.rstCode], [0, null, 0])
  session.close()
  const client = new FrameClient(await meshConnect({ ...mesh, alpn: ['h2'] }))
  const fields = [
    [':method', 'POST'],
    [':scheme', 'http'],
    [':authority', HOST],
    [':path', '/a/b'],
    ['content-type', 'application/grpc'],
  ] as const
  client.send(frame(FRAME.headers, END_HEADERS | END_STREAM, 1, headerBlock(fields)))
  assert.equal((await client.endOf(1))?.type, FRAME.headers, 'trailers-only: the head ends the stream')
  client.socket.destroy()
  const [line] = await harness.lines(2)
  assert.deepEqual(
    [
      'response_code',
      'response_flags',
      'response_code_details',
      'bytes_sent',
      'authz_decision',
      'reason',
      'upstream_host',
    ].map((name) => line?.[name]),
    [
      200,
      '-',
      'rbac_access_denied_matched_policy[ns[istio-system]-policy[no-grpc]-rule[0]]',
      0,
      'deny',
      'rbac_denied',
      null,
    ],
  )
  await harness.stop(2)
})

test('other local answers become the gRPC status of their HTTP status', async (t) => {
  const partial = siteYaml('partial.example', 1).replace(
    '"route":[',
    '"match":[{"uri":{"exact":"/pkg.Service/Known"}}],"route":[',
  )
  const { harness, mesh } = await start(t, [partial])
  const session = await meshH2(mesh)
  const cases = [
    ['unknown.example', CALL, '14', undefined, 'not_registered', '-'],
    ['partial.example', CALL, '12', undefined, 'no_route', 'NR'],
    ['bad..example', CALL, '13', undefined, 'bad_request', '-'],
    ['partial.example', { ...CALL, path: '/pkg.Service/Known' }, '14', 'upstream connect error', null, 'UF'],
  ] as const
  for (const [host, call, status, message, reason] of cases) {
    const { headers, rstCode, body } = await h2Request(session, host, call)
    assert.deepEqual([headers[':status'], headers['grpc-status'], rstCode, body.length], [200, status, 0, 0], host)
    if (message === undefined) assert.equal(headers['grpc-message'], undefined)
    else assert.ok(String(headers['grpc-message']).startsWith(message), String(headers['grpc-message']))
    assert.equal(headers['x-sallyport-reason'], reason ?? undefined)
  }
  session.close()
  const lines = await harness.lines(cases.length)
  assert.deepEqual(
    lines.map((line) => [line['response_code'], line['reason']]),
    cases.map(([, , , , reason]) => [200, reason]),
  )
  for (const [i, [, , , , , flag]] of cases.entries())
    assert.ok(String(lines[i]?.['response_flags']).startsWith(flag), String(lines[i]?.['response_flags']))
  await harness.stop(cases.length)
})

test('content-type decides: application/grpc over HTTP/1.1 counts, grpc-web and application/json do not', async (t) => {
  const { harness, mesh } = await start(t, [policyYaml('deny', 'DENY', [{}])])
  const socket = await meshConnect(mesh)
  const ask = (type: string) => request(socket, HOST, { method: 'POST', headers: { 'content-type': type } })
  for (const type of ['application/grpc', 'application/grpc+proto']) {
    const { status, headers, body } = await ask(type)
    assert.deepEqual([status, headers['grpc-status'], headers['content-length'], body], [200, '7', '0', ''], type)
  }
  for (const type of ['application/json', 'application/grpc-web+proto', 'application/grpcx']) {
    const { status, headers, body } = await ask(type)
    assert.deepEqual([status, headers['grpc-status'], body], [403, undefined, 'RBAC: access denied'], type)
  }
  socket.destroy()
  await harness.stop(5)
})
