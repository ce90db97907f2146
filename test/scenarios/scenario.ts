/** Starts a gateway over a walk-through's own YAML; see README.md in this folder for the tokens. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Harness, startHarness } from '../../src/testing/harness.ts'
import type { TestPki } from '../../src/testing/pki.ts'

export type Outside = { readonly httpPort: number; readonly httpsPort: number }

/** Reads one file of a walk-through and puts the outside world's ports and CA in place of the tokens. */
export function scenarioFile(seed: string, file: string, outside: Outside, caFile: string): string {
  return readFileSync(join(import.meta.dirname, seed, file), 'utf8')
    .replaceAll('PORT_HTTPS', String(outside.httpsPort))
    .replaceAll('PORT_HTTP', String(outside.httpPort))
    .replaceAll('CA_FILE', caFile)
}

/** @param files resource files of the walk-through that are mounted from the start */
export async function startScenario(seed: string, files: readonly string[], outside: Outside, pki: TestPki): Promise<Harness> {
  const caFileOf = new Map<string, string>()
  const harness = await startHarness({
    pki,
    resources: {},
    bootstrap: (paths) => {
      caFileOf.set('ca', paths.caFile)
      return readFileSync(join(import.meta.dirname, seed, 'bootstrap.yaml'), 'utf8')
        .replaceAll(/PORT_(80|443|444|ADMIN|METRICS|HEALTH)/g, '0')
        .replaceAll('IDENTITY_DIR', paths.identity)
        .replaceAll('ACCESS_LOG', paths.accessLog)
    },
  })
  const texts = Object.fromEntries(files.map((file) => [file, scenarioFile(seed, file, outside, caFileOf.get('ca') ?? '')]))
  const result = await harness.change(texts)
  if (!result.ok) throw new Error(result.errors.join('\n'))
  return harness
}
