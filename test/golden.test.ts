/**
 * Golden pairs: test/golden/NAME.in.yaml (resources) is loaded together with NAME.bootstrap.yaml, or the shared
 * gateway.yaml, and must give NAME.diagnostics.txt and, when there is no error, NAME.model.json.
 * `UPDATE_GOLDEN=1` rewrites the expectations: read the diff before committing it.
 */
import assert from 'node:assert/strict'
import { copyFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import test from 'node:test'
import { fileURLToPath } from 'node:url'
import { formatDiagnostic } from '../src/config/diagnostics.ts'
import { loadConfiguration } from '../src/config/load.ts'

const GOLDEN = fileURLToPath(new URL('golden/', import.meta.url))
const UPDATE = process.env['UPDATE_GOLDEN'] === '1'

const names = readdirSync(GOLDEN)
  .filter((file) => file.endsWith('.in.yaml'))
  .map((file) => file.slice(0, -'.in.yaml'.length))

/** Loads one case in a directory of its own, so that paths in the model do not depend on the checkout. */
function load(name: string): { diagnostics: string; model: string | null } {
  const directory = mkdtempSync(path.join(tmpdir(), 'sallyport-golden-'))
  try {
    const own = path.join(GOLDEN, `${name}.bootstrap.yaml`)
    copyFileSync(existsSync(own) ? own : path.join(GOLDEN, 'gateway.yaml'), path.join(directory, 'gateway.yaml'))
    copyFileSync(path.join(GOLDEN, `${name}.in.yaml`), path.join(directory, 'in.yaml'))
    const display = (file: string) => path.relative(directory, file)
    const { diagnostics, model } = loadConfiguration(path.join(directory, 'gateway.yaml'), { display })
    return {
      diagnostics: diagnostics.map((each) => `${formatDiagnostic(each)}\n`).join(''),
      // The version is a hash over the settings' absolute paths too; everything it stands for is compared anyway.
      model:
        model === null
          ? null
          : `${JSON.stringify({ ...model, version: '', settings: undefined }, null, 2).replaceAll(directory, 'DIR')}\n`,
    }
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

function expected(file: string): string | null {
  return existsSync(file) ? readFileSync(file, 'utf8') : null
}

test('there are golden cases', () => assert.ok(names.length >= 12, String(names.length)))

for (const name of names) {
  test(`golden: ${name}`, () => {
    const { diagnostics, model } = load(name)
    const files = { [`${name}.diagnostics.txt`]: diagnostics, [`${name}.model.json`]: model }
    for (const [file, text] of Object.entries(files)) {
      const full = path.join(GOLDEN, file)
      if (UPDATE) {
        if (text === null) rmSync(full, { force: true })
        else writeFileSync(full, text)
      }
      assert.equal(text, expected(full), file)
    }
    assert.equal(model === null, / error SP/.test(diagnostics), 'no model if and only if there is an error')
  })
}
