/** Walk-through 001: Gateway, DestinationRule, VirtualService, and a DENY of one namespace. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createTestPki } from '../../src/testing/pki.ts'
import { callAs, explained, scenarioFile, startOutside, startScenario } from './scenario.ts'

const FILES = [
  'added.yaml',
  'sleep.yaml',
  'service-entry.yaml',
  'gateway.yaml',
  'destination-rule.yaml',
  'virtual-service.yaml',
]

test('001: the namespace is served, then denied; others go on', async (t) => {
  const pki = await createTestPki()
  const outside = await startOutside(pki, ['www.aliyun.com'])
  t.after(() => outside.close())
  const harness = await startScenario('seed-001', FILES, outside, pki)
  assert.equal((await callAs(harness, 'demo-frontend/sleep', 'www.aliyun.com')).status, 200)
  assert.equal((await explained(harness, 'demo-frontend/sleep', 'HEAD', 'http://www.aliyun.com/')).code, 0)

  assert.ok(
    (await harness.change({ 'deny.yaml': scenarioFile('seed-001', 'authorization-policy.yaml', outside, '') })).ok,
  )
  const denied = await callAs(harness, 'demo-frontend/sleep', 'www.aliyun.com', { method: 'HEAD' })
  assert.deepEqual(
    [denied.status, denied.headers['content-length'], denied.headers['content-type'], denied.body],
    [403, '19', 'text/plain', ''],
  )
  assert.ok(denied.headers['date'])
  const full = await callAs(harness, 'demo-frontend/sleep', 'www.aliyun.com')
  assert.equal(full.body, 'RBAC: access denied')
  assert.equal((await callAs(harness, 'other/sleep', 'www.aliyun.com')).status, 200)
  assert.equal((await callAs(harness, 'other/sleep', 'www.example.com')).status, 502)
  const { code, result } = await explained(harness, 'demo-frontend/sleep', 'GET', 'http://www.aliyun.com/')
  assert.equal(code, 1)
  assert.match(result.decidedBy ?? '', /policy\[deny-demo-frontend\]-rule\[0\] at .*deny\.yaml:\d+:\d+/)

  const lines = await harness.lines(5)
  assert.deepEqual(
    [
      'method',
      'response_code',
      'response_code_details',
      'authz_policy',
      'source_namespace',
      'upstream_cluster',
      'upstream_host',
    ].map((key) => lines[1]?.[key]),
    [
      'HEAD',
      403,
      'rbac_access_denied_matched_policy[ns[istio-system]-policy[deny-demo-frontend]-rule[0]]',
      'ns[istio-system]-policy[deny-demo-frontend]-rule[0]',
      'demo-frontend',
      'outbound|80||www.aliyun.com',
      null,
    ],
  )
  await harness.stop(5)
})
