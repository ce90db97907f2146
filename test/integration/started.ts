/** A harness that cannot outlive its test: one that fails half-way must not keep the test process alive. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { type Harness, type HarnessOptions, startHarness } from '../../src/testing/harness.ts'
import type { TestCertificate } from '../../src/testing/pki.ts'

/** `startHarness`, and an end however the test ends. Tests that get there still call `stop(lines)` themselves. */
export async function started(t: TestContext, options: HarnessOptions): Promise<Harness> {
  const harness = await startHarness(options)
  t.after(() => harness.gateway.destroy())
  return harness
}

/** `secretsDirectory/NAME/{tls.crt,tls.key,ca.crt}`, as a mounted Kubernetes secret. */
export function writeSecret(harness: Harness, name: string, { cert, key, ca }: TestCertificate): void {
  const dir = join(harness.paths.dir, 'secrets', name)
  mkdirSync(dir, { recursive: true })
  writeFileSync(join(dir, 'tls.crt'), cert)
  writeFileSync(join(dir, 'tls.key'), key, { mode: 0o600 })
  writeFileSync(join(dir, 'ca.crt'), ca)
}
