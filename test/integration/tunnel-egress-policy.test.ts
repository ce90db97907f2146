/** What else may come to a gateway port of an HTTPS `to` (contract §4); the paths that lead through are in test/scenarios/rows-000.ts. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { buildHello } from '../../src/testing/hello.ts'
import { plainConnect } from '../../src/testing/mesh-client.ts'
import { createTestPki } from '../../src/testing/pki.ts'
import { documents, serviceEntry } from './manifests.ts'
import { started } from './started.ts'
import { meshTunnel, startDatabase, watch } from './tunnel-world.ts'

const HOST = 'httpbin.org'
const PORT = 444

test('a tunnel needs an inner name of the policy: everything else is refused and dials nothing', async (t) => {
  const pki = await createTestPki()
  const site = await startDatabase()
  t.after(() => site.close())
  const policy = {
    apiVersion: 'istio.alibabacloud.com/v1',
    kind: 'ASMEgressTrafficPolicy',
    metadata: { name: 'egress', namespace: 'istio-egress' },
    spec: {
      byEgressGateway: { name: 'istio-egressgateway', port: PORT },
      egressRules: [
        {
          from: [{ namespace: 'default' }],
          to: [{ name: 'to', hosts: [HOST], port: { name: 'tls', number: 443, protocol: 'HTTPS' } }],
        },
      ],
    },
  }
  const harness = await started(t, {
    pki,
    spec: { ports: { [PORT]: 0 } },
    resources: {
      'all.yaml': documents(serviceEntry('site', HOST, site.port, { port: 443, protocol: 'HTTPS' }), policy),
    },
  })
  const hello = buildHello({ names: [HOST] })
  const others = buildHello({ names: ['www.example.org'] })
  const silent = watch(await meshTunnel(harness, { port: PORT }))
  const half = await meshTunnel(harness, { port: PORT })
  half.allowHalfOpen = false
  half.write(hello.subarray(0, hello.length - 1))
  const halfSeen = watch(half)
  const cases = [
    ['no name inside', 'default/sleep', buildHello(), 'no_sni', 'NR', null],
    ['another name inside', 'default/sleep', others, 'not_registered', 'UH', 'BlackHoleCluster'],
    ['a caller in no from', 'other/sleep', hello, 'caller_not_listed', 'UH', 'BlackHoleCluster'],
    [
      'a hello that cannot be read',
      'default/sleep',
      buildHello({ names: [HOST, HOST] }),
      'protocol_mismatch',
      'DPE',
      null,
    ],
  ] as const
  for (const [index, [name, identity, bytes, ...expected]] of cases.entries()) {
    const tunnel = await meshTunnel(harness, { port: PORT, identity })
    tunnel.allowHalfOpen = false
    const seen = watch(tunnel)
    tunnel.write(bytes)
    await seen.closed
    const line = (await harness.lines(index + 1))[index]
    const facts = ['reason', 'response_flags', 'upstream_cluster', 'upstream_host', 'response_code']
    assert.deepEqual(
      facts.map((key) => line?.[key]),
      [...expected, null, 0],
      name,
    )
    assert.equal(seen.bytes.length, 0)
  }

  const plain = watch(await plainConnect(harness.gateway.port(PORT)))
  plain.socket.write('SSH-2.0-x\r\n')
  await plain.closed
  assert.equal((await harness.lines(5))[4]?.['reason'], 'protocol_mismatch', 'bytes without mTLS')

  const bytes = watch(await meshTunnel(harness, { port: PORT }))
  bytes.socket.allowHalfOpen = false
  bytes.socket.write('SSH-2.0-x\r\n\r\n')
  await bytes.closed
  assert.match(bytes.text, /^HTTP\/1\.1 400 /, 'what is no TLS is taken for a request, and is none')

  silent.socket.allowHalfOpen = false
  await Promise.all([silent.closed, halfSeen.closed])
  const lines = await harness.lines(7)
  assert.equal(lines[6]?.['reason'], 'protocol_mismatch', 'half a hello; silence leaves no line')
  assert.equal(site.connections.length, 0)
  await harness.stop(7)
})
