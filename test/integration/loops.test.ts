/** Gateways that lead to each other (threat 41): the circle is cut at the first gateway that sees its own name. */
import assert from 'node:assert/strict'
import { gatewayYaml, siteYaml } from '../../src/testing/egress-resources.ts'
import { plainConnect, request } from '../../src/testing/mesh-client.ts'
import { startEchoOrigin } from '../../src/testing/origin.ts'
import { test } from './engines.ts'
import { started } from './started.ts'

/** Opens the inside, as a gateway does that leads to other gateways. */
const spec = { addressGuard: { allow: ['127.0.0.0/8'] } }
const PLAIN = gatewayYaml([{ port: 80, name: 'http', protocol: 'HTTP' }])

test('threat 41: two gateways that name each other as the site: one turn, then 403', async (t) => {
  const first = await started(t, { spec, resources: { 'gateway.yaml': PLAIN } })
  const second = await started(t, {
    spec,
    resources: { 'gateway.yaml': PLAIN, 'site.yaml': siteYaml('circle.example', first.gateway.port(80)) },
  })
  assert.ok((await first.change({ 'site.yaml': siteYaml('circle.example', second.gateway.port(80)) })).ok)
  const socket = await plainConnect(first.gateway.port(80))
  const answer = await request(socket, 'circle.example')
  socket.destroy()
  assert.equal(answer.status, 403)
  const lines = await first.lines(2)
  const seen = lines.map(
    (line) => `${String(line['response_code'])} ${String(line['response_code_details'])} ${String(line['reason'])}`,
  )
  assert.deepEqual(new Set(seen), new Set(['403 address_denied{loop} address_denied', '403 via_upstream null']))
  await second.stop(1)
  await first.stop(2)
})

test('threat 41: a chain of two gateways with the same name is no circle, and nothing is marked towards the outside', async (t) => {
  const origin = await startEchoOrigin()
  t.after(() => origin.close())
  const inner = await started(t, {
    spec,
    resources: { 'gateway.yaml': PLAIN, 'site.yaml': siteYaml('chain.example', origin.port) },
  })
  const outer = await started(t, {
    spec,
    resources: { 'gateway.yaml': PLAIN, 'site.yaml': siteYaml('chain.example', inner.gateway.port(80)) },
  })
  const socket = await plainConnect(outer.gateway.port(80))
  const answer = await request(socket, 'chain.example', { path: '/anything' })
  socket.destroy()
  assert.equal(answer.status, 200)
  // `allow` opens the inside, so both marks are there. Without it, a public address never sees one.
  const { headers } = JSON.parse(answer.body) as { headers: Record<string, string> }
  assert.match(headers['Via'] ?? '', /^1\.1 sallyport-[0-9a-f]{8},1\.1 sallyport-[0-9a-f]{8}$/)
  await outer.stop(1)
  await inner.stop(1)
})
