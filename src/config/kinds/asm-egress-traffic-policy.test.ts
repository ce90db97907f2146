import assert from 'node:assert/strict'
import { test } from 'node:test'
import { checkFindings } from '../../testing/resources.ts'
import { asmEgressTrafficPolicy } from './asm-egress-traffic-policy.ts'

const to = { hosts: ['httpbin.org'], port: { name: 'http', number: 80, protocol: 'HTTP' } }
const policy = (rule: object) => ({ byEgressGateway: { name: 'gw' }, egressRules: [rule] })

test('the shape of seed 000 is read, quoted numbers included', () => {
  const spec = asmEgressTrafficPolicy.schema.parse(
    policy({
      from: [{ namespace: 'mytest', workloadSelector: { app: 'sleep-a' } }],
      to: [{ ...to, byEgressGateway: { port: '80' }, httpsUpgrade: { enabled: true, port: 443 } }],
    }),
  )
  assert.equal(spec.egressRules[0]?.to[0]?.byEgressGateway?.port, 80)
  assert.deepEqual(checkFindings(asmEgressTrafficPolicy, spec), [])
  assert.deepEqual(asmEgressTrafficPolicy.versions, ['v1', 'v1beta1'])
})

test('missing required fields and empty lists fail', () => {
  const from = [{ namespace: 'a' }]
  for (const spec of [
    {},
    { byEgressGateway: {}, egressRules: [{ from, to: [to] }] },
    { byEgressGateway: { name: 'gw' }, egressRules: [] },
    policy({ from: [], to: [to] }),
    policy({ from, to: [] }),
    policy({ to: [to] }),
    policy({ from: [{}], to: [to] }),
    policy({ from, to: [{ port: to.port }] }),
    policy({ from, to: [{ ...to, hosts: [] }] }),
    policy({ from, to: [{ ...to, hosts: Array.from({ length: 51 }, (_, i) => `h${i}.example.com`) }] }),
    policy({ from, to: [{ hosts: to.hosts }] }),
    policy({ from, to: [{ ...to, port: { number: 80 } }] }),
    policy({ from: [{ namespace: 'a', workloadSelector: { matchLabels: { app: 'x' } } }], to: [to] }),
  ])
    assert.equal(asmEgressTrafficPolicy.schema.safeParse(spec).success, false, JSON.stringify(spec))
})

test('namespaces and hosts are names, protocols are known', () => {
  const spec = policy({
    from: [{ namespace: '*' }, { namespace: 'my-test' }],
    to: [{ hosts: ['*', 'a.b:80', '*.a.b'], port: { number: 80, protocol: 'SPDY' } }],
  })
  assert.deepEqual(checkFindings(asmEgressTrafficPolicy, spec), [
    'SP6000 spec.egressRules.0.from.0.namespace',
    'SP6000 spec.egressRules.0.to.0.hosts.0',
    'SP6000 spec.egressRules.0.to.0.hosts.1',
    'SP6000 spec.egressRules.0.to.0.port.protocol',
  ])
})
