/** A harness that cannot outlive its test: one that fails half-way must not keep the test process alive. */
import type { TestContext } from 'node:test'
import { type Harness, type HarnessOptions, startHarness } from '../../src/testing/harness.ts'

/** `startHarness`, and an end however the test ends. Tests that get there still call `stop(lines)` themselves. */
export async function started(t: TestContext, options: HarnessOptions): Promise<Harness> {
  const harness = await startHarness(options)
  t.after(() => harness.gateway.destroy())
  return harness
}
