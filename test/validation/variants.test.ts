/** The walk-throughs' YAML, unbroken: nothing to complain of, with a gateway and without. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { VARIANTS, type Variant, validated, variantFiles } from './variants.ts'

for (const variant of Object.keys(VARIANTS) as Variant[])
  for (const what of ['bootstrap', 'directory'] as const)
    test(`validate finds no errors in ${variant} (${what})`, async (t) => {
      const { code, findings } = await validated(t, variantFiles(variant), what)
      assert.deepEqual(
        findings.filter(({ severity }) => severity === 'error'),
        [],
      )
      assert.equal(code, 0)
    })
