/** Every field of the kinds that route and judge is proved by a test that names it, and docs/support-matrix.md says which. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { z } from 'zod'
import { fieldPaths } from '../../src/config/field-paths.ts'
import { KINDS } from '../../src/config/kinds/index.ts'
import { testSources } from '../threats/document.ts'
import { filesByField, titledFields } from './field-titles.ts'
import { bootstrapRows, knownNames, pathsOf, proves, rowsOf, TESTED_KINDS } from './support-matrix.ts'

const OWN = 'test/fields/index.test.ts'
const SOURCES = testSources().filter(({ file }) => file.startsWith('test/') && file !== OWN)
const TITLES = filesByField(SOURCES)
const MODULES = KINDS.filter(({ kind }) => TESTED_KINDS.includes(kind))

for (const module of MODULES)
  test(`every field of ${module.kind} has a test whose title names it`, () => {
    const known = knownNames([module])
    const titles = [...TITLES.keys()]
    const names = rowsOf(module).map(({ path }) => `${module.kind}.${path}`)
    assert.deepEqual(
      names.filter((name) => !titles.some((title) => proves(title, name, known))),
      [],
    )
  })

test('no title names a field that does not exist', () => {
  const known = knownNames(MODULES)
  const names = [...known]
  const meant = (title: string) => known.has(title) || names.some((name) => proves(title, name, known))
  assert.deepEqual(
    [...TITLES].filter(([title]) => !meant(title)),
    [],
  )
})

test('the tables about fields name fields that exist, once', () => {
  for (const module of KINDS) {
    const { all } = pathsOf(module)
    const everything = (module.schema as z.ZodType) && fieldPaths(module.schema as z.ZodType).all
    const rows = [...module.unsupported, ...(module.notes ?? [])].map(({ path }) => path)
    for (const path of rows)
      assert.ok(path === 'spec' || everything.has(path.replace(/^spec\./, '')), `${module.kind}: ${path}`)
    assert.equal(new Set(rows).size, rows.length, `${module.kind}: a field stands twice`)
    for (const [path, other] of Object.entries(module.sameAs ?? {})) {
      assert.ok(all.has(path) && all.has(other), `${module.kind}: ${path} as ${other}`)
      const below = (root: string) =>
        [...everything].filter((each) => each.startsWith(`${root}.`)).map((each) => each.slice(root.length))
      assert.deepEqual(below(path), below(other), `${module.kind}: ${path} has the fields of ${other}`)
    }
  }
})

test('every row has a status, and says why where it is not honoured', () => {
  const rows = [...KINDS.flatMap(rowsOf), ...bootstrapRows()]
  assert.ok(rows.length > 300, String(rows.length))
  for (const { kind, path, status, why } of rows) assert.ok(status === 'honoured' || why.length > 5, `${kind}.${path}`)
})

test('the walk finds leaves under lists and maps, and ends where it is told', () => {
  const match = z.object({ exact: z.string().optional() })
  const schema = z.object({
    a: z.array(z.object({ b: z.string(), c: z.array(z.string()).optional() })),
    d: z.record(z.string(), z.string()),
    e: z.record(z.string(), match.nullable()).optional(),
    f: match,
  })
  assert.deepEqual(fieldPaths(schema).leaves, ['a[].b', 'a[].c', 'd', 'e.*.exact', 'f.exact'])
  assert.deepEqual(fieldPaths(schema, (path) => path === 'f' || path === 'a').leaves, ['a', 'd', 'e.*.exact', 'f'])
  assert.ok(fieldPaths(schema).all.has('a[]') && fieldPaths(schema).all.has('e.*'))
})

test('the scan sees titles with one field or several, and constants in them', () => {
  const text = `
const LB = 'DestinationRule.lb'
test('field A.b: c', () => {})
test(\`field \${LB}.enabled, A.c[].d: x: y\`, () => {})
const ROWS = { "field A.d": 1 }
// field A.e: in a comment
test('the field A.f: no', () => {})
test(\`field \${other}: unresolved\`, () => {})
`
  assert.deepEqual(titledFields(text), ['A.b', 'DestinationRule.lb.enabled', 'A.c[].d', 'A.d', '${other}'])
})

test('a star stands for fields below a block; of a map it is the keys', () => {
  const known = new Set(['K.a', 'K.a.b', 'K.m', 'K.m.*', 'K.m.*.x'])
  assert.ok(proves('K.a.*', 'K.a.b', known))
  assert.ok(proves('K.a.b', 'K.a.b', known))
  assert.equal(proves('K.a', 'K.a.b', known), false)
  assert.equal(proves('K.m.*', 'K.m.*.x', known), false)
})
