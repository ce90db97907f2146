/** Threat 42: names of the inside are refused by name, before anybody is asked about them. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startDnsServer } from '../../src/testing/dns-server.ts'
import { gatewayYaml } from '../../src/testing/egress-resources.ts'
import { plainConnect, request } from '../../src/testing/mesh-client.ts'
import { started } from './started.ts'

test('threat 42: ALLOW_ANY does not lead to names of the inside, and no question leaves the gateway', async (t) => {
  const asked: string[] = []
  const dns = await startDnsServer(({ name }) => {
    asked.push(name)
    return { kind: 'rcode', code: 'NXDOMAIN' }
  })
  t.after(() => dns.close())
  const harness = await started(t, {
    resources: { 'gateway.yaml': gatewayYaml([{ port: 80, name: 'http', protocol: 'HTTP' }]) },
    spec: { meshConfig: { outboundTrafficPolicy: { mode: 'ALLOW_ANY' } }, dns: { servers: [dns.address] } },
  })
  const names = [
    'kubernetes',
    'api.default.svc',
    'api.default.svc.cluster.local',
    'metadata.google.internal',
    'db.local',
  ]
  for (const name of names) {
    const socket = await plainConnect(harness.gateway.port(80))
    const answer = await request(socket, name)
    socket.destroy()
    assert.deepEqual([answer.status, answer.headers['x-sallyport-reason']], [403, 'address_denied'], name)
  }
  assert.deepEqual(asked, [])
  const socket = await plainConnect(harness.gateway.port(80))
  assert.equal((await request(socket, 'outside.example')).status, 503)
  socket.destroy()
  assert.ok(asked.length > 0, 'a name of the outside is asked for')
  const lines = await harness.lines(names.length + 1)
  assert.equal(lines[0]?.['response_code_details'], 'address_denied{inside_name}')
  await harness.stop(names.length + 1)
})
