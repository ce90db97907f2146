/**
 * Mistakes that people make, one small edit each of the walk-throughs' YAML: `sallyport validate` names the file, the line and
 * the column of each, with a code, and nothing else is an error. `▸` in an edit marks the place; it is taken out before.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DIAGNOSTICS } from '../../src/config/diagnostics.ts'
import { BROKEN_FILES } from './broken-files.ts'
import { BROKEN_GATEWAYS } from './broken-gateways.ts'
import { BROKEN_POLICIES } from './broken-policies.ts'
import { BROKEN_ROUTES } from './broken-routes.ts'
import { BROKEN_SERVICES } from './broken-services.ts'
import { BROKEN_TRAFFIC } from './broken-traffic.ts'
import { type Broken, ECHO, MARK, places, unmarked } from './edit.ts'
import { type Files, validated, variantFiles } from './variants.ts'

const ROWS: readonly Broken[] = [
  ...BROKEN_FILES,
  ...BROKEN_GATEWAYS,
  ...BROKEN_ROUTES,
  ...BROKEN_SERVICES,
  ...BROKEN_TRAFFIC,
  ...BROKEN_POLICIES,
]

for (const [mistake, variant, file, from, to, severity, code] of ROWS)
  test(`${code} ${mistake}`, async (t) => {
    const files = variantFiles(variant)
    const name = file === 'gateway.yaml' || file.includes('/') ? file : `resources/${file}`
    const before = files[name] ?? ''
    assert.equal(before.split(from).length, 2, `${JSON.stringify(from)} stands once in ${name}`)
    const marked = before.replace(from, () => to)
    const after: Files = { ...files, [name]: unmarked(marked) }
    const expected = places(marked, MARK).map((place) => `${name}:${place} ${code}`)
    assert.ok(expected.length > 0, 'the edit marks a place')
    const { code: exit, findings } = await validated(t, after, 'bootstrap')
    const found = findings.filter((each) => each.severity === severity).map(({ place }) => place)
    const all = findings.map(({ place, message }) => `${place} ${message}`).join('\n')
    if (code === 'SP1010') {
      // What follows a broken line is read differently: echoes of it may follow in the same file.
      assert.deepEqual(found.slice(0, expected.length), expected, all)
      assert.ok(
        found.every((place) => place.startsWith(`${name}:`)),
        all,
      )
    } else if (severity === 'error') {
      const echoes = places(marked, ECHO).map((place) => `${name}:${place}`)
      const isEcho = (place: string) => echoes.some((echo) => place.startsWith(`${echo} `))
      assert.deepEqual([...new Set(found.filter((place) => !isEcho(place)))], expected, all)
      for (const echo of echoes)
        assert.ok(
          found.some((place) => place.startsWith(`${echo} `)),
          `${echo}\n${all}`,
        )
    } else {
      for (const place of expected) assert.ok(found.includes(place), `${place} is not in\n${all}`)
      const whole = await validated(t, files, 'bootstrap')
      assert.ok(!whole.findings.some(({ place }) => expected.includes(place)), 'the unbroken file has the finding too')
    }
    assert.equal(exit, severity === 'error' ? 1 : 0, all)
    assert.ok(Object.hasOwn(DIAGNOSTICS, code))
  })

test('there are more than sixty of them, each once', () => {
  assert.ok(ROWS.length >= 60, String(ROWS.length))
  assert.equal(new Set(ROWS.map(([, , file, from, to]) => `${file}${from}${to}`)).size, ROWS.length)
})

test('places are counted from 1', () => {
  assert.deepEqual(places(`a: 1\n  ▸b▹: ▸2\n▸`, MARK), ['2:3', '2:6', '3:1'])
  assert.deepEqual(places(`a: 1\n  ▸b▹: ▸2\n▸`, ECHO), ['2:4'])
})
