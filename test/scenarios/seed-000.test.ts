/** Walk-through 000, besides its rows (rows-000.ts): what the load says. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import { createTestPki } from '../../src/testing/pki.ts'
import { endWith, scenarioFile, startScenario } from './scenario.ts'

test('000: the load says that the DENY of POST covers whole tunnels on port 444', async (t) => {
  const files = ['test.yaml', 'added-tls.yaml', 'egress-by-egressgateway-tls.yaml']
  const outside = { httpPort: 9, httpsPort: 9 }
  const harness = endWith(t, await startScenario('seed-000', files, outside, await createTestPki()))
  const warned = () =>
    harness.log().some(({ message }) => /deny-post\.yaml:\d+:\d+ warning SP\d+ .*444/.test(String(message)))
  assert.ok(!warned())
  const denyPost = scenarioFile('seed-000', 'deny-post.yaml', outside, '')
  assert.ok((await harness.change({ 'deny-post.yaml': denyPost })).ok)
  await eventually('a warning that names port 444', warned)
  await harness.stop(0)
})
