/** The walk over schema and tree: what it renames, drops, finds; through every wrapper zod has. */
import assert from 'node:assert/strict'
import test from 'node:test'
import { z } from 'zod'
import { type CanonicalOptions, canonicalise } from './canonical.ts'
import { locator } from './position.ts'
import { collectDiagnostics } from './report.ts'
import { parseYaml } from './yaml.ts'

const CLOSED: CanonicalOptions = { unknownKeys: 'error', snakeCase: true, nulls: 'refused' }
const OPEN: CanonicalOptions = { unknownKeys: 'warning', snakeCase: true, nulls: 'absent' }

function walk(schema: z.ZodType, text: string, options: CanonicalOptions) {
  const { report, sorted } = collectDiagnostics()
  const [document] = parseYaml(text, 'f', report)
  assert.ok(document !== undefined)
  const { value, positions } = canonicalise(schema, document.root, ['spec'], options, report, document.locate)
  const findings = sorted().map(({ line, col, severity, code }) => `${line}:${col} ${severity} ${code}`)
  return { value, findings, at: locator(positions, document.locate) }
}

const inner = z.object({ leafName: z.string().optional() })

test('through every wrapper a schema may use', () => {
  const schema = z.object({
    optional: inner.optional(),
    prefault: inner.prefault({}),
    preprocess: z.preprocess((value) => value, inner),
    transform: inner.transform((value) => value),
    lazy: z.lazy(() => inner),
    union: z.union([z.string(), inner]),
    list: z.array(inner),
    pair: z.tuple([z.string(), inner]),
    map: z.record(z.string(), inner),
    both: z.intersection(inner, z.object({ otherName: z.string().optional() })),
    nothing: z.string().nullable(),
    anything: z.unknown(),
  })
  const wrong = '{leaf_name: a, leafNam: b}'
  const single = ['optional', 'prefault', 'preprocess', 'transform', 'lazy', 'union']
  const text = `${single.map((key) => `${key}: ${wrong}\n`).join('')}list: [${wrong}]
pair: [x, ${wrong}]
map: {some_key: ${wrong}}
both: {leaf_name: a, other_name: b, leafNam: c}
nothing: null
anything: {some_key: null}
`
  const { value, findings } = walk(schema, text, CLOSED)
  assert.deepEqual(
    findings.map((each) => each.replace(/:\d+ /, ' ')),
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10].map((line) => `${line} error SP1030`),
  )
  const leaf = { leafName: 'a' }
  assert.deepEqual(value, {
    ...Object.fromEntries(single.map((key) => [key, leaf])),
    list: [leaf],
    pair: ['x', leaf],
    map: { some_key: leaf },
    both: { leafName: 'a', otherName: 'b' },
    nothing: null,
    anything: { some_key: null },
  })
})

test('keys of a loose object are kept, known ones are still renamed', () => {
  const loose = z.looseObject({ leafName: z.string().optional() })
  const { value, findings } = walk(loose, 'leaf_name: a\nother_key: {x_y: 1}\n', CLOSED)
  assert.deepEqual(value, { leafName: 'a', other_key: { x_y: 1 } })
  assert.deepEqual(findings, [])
})

test('names every object inherits are no keys of a schema', () => {
  const { value, findings } = walk(inner, 'constructor: 1\ntoString: 2\n', OPEN)
  assert.deepEqual(value, {})
  assert.deepEqual(findings, ['1:1 warning SP1030', '2:1 warning SP1030'])
})

test('null: absent, or refused; never dropped from a list or a map of free keys', () => {
  const schema = z.object({
    one: z.string().optional(),
    list: z.array(inner).optional(),
    map: z.record(z.string(), z.string()).optional(),
  })
  const text = 'one:\nlist: [null]\nmap: {a: }\n'
  assert.deepEqual(walk(schema, text, OPEN).value, { list: [null], map: { a: null } })
  assert.deepEqual(walk(schema, text, OPEN).findings, [])
  assert.deepEqual(walk(schema, text, CLOSED).findings, ['1:1 error SP1032'])
})

test('tls is closed wherever it stands', () => {
  const schema = z.object({ list: z.array(z.object({ tls: inner.optional() })) })
  assert.deepEqual(walk(schema, 'list:\n- tls: {x: 1, leafName: }\n- tsl: {}\n- other: {}\n', OPEN).findings, [
    '2:9 error SP1030',
    '2:15 error SP1032',
    '3:3 error SP1030',
    '4:3 warning SP1030',
  ])
})

test('positions: the key of maps and lists, the value of scalars, the nearest ancestor of what is absent', () => {
  const schema = z.object({ outerName: z.object({ list: z.array(z.string()), word: z.string() }) })
  const { at } = walk(schema, '# comment\nouter_name:\n  list:\n  - a\n  - b\n  word: text\n', OPEN)
  const place = (...path: (string | number)[]) => `${at(...path).line}:${at(...path).col}`
  assert.equal(place(), '2:1')
  assert.equal(place('outerName'), '2:1')
  assert.equal(place('outerName', 'list'), '3:3')
  assert.equal(place('outerName', 'list', 1), '5:5')
  assert.equal(place('outerName', 'list', 7), '3:3')
  assert.equal(place('outerName', 'word'), '6:9')
  assert.equal(place('nowhere', 'at', 'all'), '2:1')
})
