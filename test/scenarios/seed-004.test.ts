/** Walk-through 004, besides its rows (rows-004.ts): whom the new timeout concerns, and whom not. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import { createTestPki } from '../../src/testing/pki.ts'
import { callAs, endWith, fields, scenarioFile, startOutside, startScenario } from './scenario.ts'

const SLEEP = 'default/sleep'

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
  // The 504 says that it was before the site's 5 s.
  assert.ok(seconds >= 3, `after ${seconds} s`)
  const [line] = await harness.lines(1)
  assert.deepEqual(
    fields(line, ['response_code', 'response_flags', 'response_code_details', 'upstream_cluster', 'path']),
    [504, 'UT', 'response_timeout', 'outbound|80||httpbin.org', '/delay/5'],
  )
  const duration = Number(line?.['duration'])
  assert.ok(duration >= 3000, `duration ${duration}`)

  // It had been judged before the reload, and is not cut by the new timeout.
  assert.equal((await patient).status, 200)
  await harness.stop(2)
})
