/**
 * Policy judged a field that `Connection` then took away, and two cookies that left as one: the outside saw something
 * else than what was allowed.
 */
import assert from 'node:assert/strict'
import { gatewayYaml, policyYaml, siteYaml } from '../../src/testing/egress-resources.ts'
import { h2Over, h2Request } from '../../src/testing/h2-client.ts'
import { startHarness } from '../../src/testing/harness.ts'
import { plainConnect, rawExchange } from '../../src/testing/mesh-client.ts'
import { startEchoOrigin } from '../../src/testing/origin.ts'
import { test } from '../integration/engines.ts'

const HOST = 'site.example'

test('threat 11: a field that Connection removes satisfies no rule; cookies are judged as the one field they leave as', async (t) => {
  const origin = await startEchoOrigin()
  t.after(() => origin.close())
  const resources = [
    gatewayYaml([{ port: 80, name: 'http', protocol: 'HTTP' }]),
    siteYaml(HOST, origin.port),
    policyYaml('deny', 'DENY', [
      {
        to: [{ operation: { paths: ['/tenant'] } }],
        when: [{ key: 'request.headers[x-tenant]', notValues: ['good'] }],
      },
      { when: [{ key: 'request.headers[cookie]', values: ['a=1; b=2'] }] },
    ]),
  ]
  const harness = await startHarness({ resources: { 'all.yaml': resources.join('---\n') } })
  t.after(async () => {
    if (harness.gateway.lifecycle.phase !== 'closed') await harness.gateway.destroy()
  })
  const h1 = async (path: string, fields: string) => {
    const socket = await plainConnect(harness.gateway.port(80))
    const text = await rawExchange(socket, `GET ${path} HTTP/1.1\r\nhost: ${HOST}\r\n${fields}\r\n`, (got) =>
      got.includes('\r\n\r\n'),
    )
    socket.destroy()
    return Number(text.split(' ')[1])
  }
  assert.equal(await h1('/tenant', 'x-tenant: good\r\n'), 200)
  assert.equal(await h1('/tenant', ''), 403)
  assert.equal(await h1('/tenant', 'x-tenant: good\r\nconnection: x-tenant\r\n'), 403)
  assert.equal(await h1('/tenant', 'x-tenant: good\r\nConnection: close, X-Tenant\r\n'), 403)
  assert.equal(await h1('/', 'cookie: a=1\r\n'), 200)
  assert.equal(await h1('/', 'cookie: a=1; b=2\r\n'), 403)
  assert.equal(await h1('/', 'cookie: a=1\r\ncookie: b=2\r\n'), 403)
  const session = h2Over(await plainConnect(harness.gateway.port(80)))
  assert.equal((await h2Request(session, HOST, { headers: { cookie: ['a=1', 'b=2'] } })).status, 403)
  assert.equal((await h2Request(session, HOST, { headers: { cookie: ['b=2', 'a=1'] } })).status, 200)
  assert.deepEqual(origin.requests, ['GET /tenant', 'GET /', 'GET /'])
  session.close()
  await harness.stop(9)
})
