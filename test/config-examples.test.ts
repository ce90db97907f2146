/**
 * The examples under config/ and the walk-throughs under test/scenarios load: what a reader mounts first must not greet them
 * with an error, and what the walk-throughs' own YAML is warned about is written down here.
 */
import assert from 'node:assert/strict'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { loadConfiguration } from '../src/config/load.ts'

const ROOT = path.resolve(import.meta.dirname, '..')

const EXAMPLES = readdirSync(path.join(ROOT, 'config'), { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map((entry) => entry.name)
  .sort()

/** What the tokens of a walk-through may become; see test/scenarios/README.md. */
const TOKENS: Readonly<Record<string, string>> = {
  PORT_HTTPS: '18443',
  PORT_HTTP: '18080',
  PORT_443: '0',
  PORT_444: '0',
  PORT_80: '0',
  PORT_ADMIN: '0',
  PORT_METRICS: '0',
  PORT_HEALTH: '0',
  CA_FILE: '/pki/site-ca.pem',
  IDENTITY_DIR: '/pki/gateway',
  ACCESS_LOG: '/dev/stdout',
}

const filled = (text: string) => Object.entries(TOKENS).reduce((all, [token, value]) => all.replaceAll(token, value), text)

/** Loads a walk-through with the given resource files in a directory of its own. */
function loadWalkThrough(folder: string, files: readonly string[]) {
  const from = path.join(ROOT, 'test/scenarios', folder)
  const dir = mkdtempSync(path.join(tmpdir(), 'sallyport-'))
  try {
    mkdirSync(path.join(dir, 'resources'))
    for (const file of files) {
      const to = path.join(dir, 'resources', file)
      cpSync(path.join(from, file), to)
      writeFileSync(to, filled(readFileSync(to, 'utf8')))
    }
    writeFileSync(path.join(dir, 'gateway.yaml'), filled(readFileSync(path.join(from, 'bootstrap.yaml'), 'utf8')))
    return loadConfiguration(path.join(dir, 'gateway.yaml'), { display: (file) => path.relative(dir, file) })
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

test('there are examples', () => {
  assert.deepEqual(EXAMPLES, ['asm-egress', 'istio-egress', 'local', 'service-entry'])
})

for (const name of EXAMPLES)
  test(`config/${name} loads without errors and warnings`, () => {
    const { model, diagnostics } = loadConfiguration(path.join(ROOT, 'config', name, 'gateway.yaml'))
    assert.deepEqual(
      diagnostics.filter(({ severity }) => severity !== 'info'),
      [],
    )
    assert.notEqual(model, null)
  })
