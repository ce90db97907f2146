/** Documents, positions, and everything YAML can do that a configuration must not. */
import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { formatDiagnostic } from './diagnostics.ts'
import { collectDiagnostics } from './report.ts'
import { parseYaml } from './yaml.ts'
import type { YamlNode } from './yaml-tree.ts'

function read(text: string): { values: unknown[]; findings: string[] } {
  const { report, sorted } = collectDiagnostics()
  const documents = parseYaml(text, 'f.yaml', report)
  return { values: documents.map(({ root }) => value(root)), findings: sorted().map(formatDiagnostic) }
}

function value(node: YamlNode): unknown {
  if (node.kind === 'scalar') return node.value
  if (node.kind === 'list') return node.items.map(value)
  return Object.fromEntries([...node.entries].map(([key, entry]) => [key, value(entry.value)]))
}

test('several documents, empty ones left out', () => {
  assert.deepEqual(read('a: 1\n---\n---\n# only a comment\n---\nb: [x, "2"]\n...\n'), {
    values: [{ a: 1 }, { b: ['x', '2'] }],
    findings: [],
  })
})

test('JSON, also indented by tabs', () => {
  assert.deepEqual(read('{\n\t"a": 1,\n\t"b": [true, null]\n}').values, [{ a: 1, b: [true, null] }])
})

test('anchors and merge keys: own keys win, then earlier merges', () => {
  const text = 'p: &x {a: 1, b: 1}\nq: &y {b: 2, c: 2}\nz:\n  <<: [*x, *y]\n  a: 3\nagain: *x\n'
  assert.deepEqual(read(text), {
    values: [{ p: { a: 1, b: 1 }, q: { b: 2, c: 2 }, z: { a: 3, b: 1, c: 2 }, again: { a: 1, b: 1 } }],
    findings: [],
  })
})

test('an alias means what its anchor meant there, also when it is copied', () => {
  const text = 'a: &v 1\nb: &b {k: *v}\nc: &v 2\nd: *b\ne: *v\n'
  assert.deepEqual(read(text).values, [{ a: 1, b: { k: 1 }, c: 2, d: { k: 1 }, e: 2 }])
})

const REFUSED: readonly [name: string, text: string, finding: RegExp][] = [
  ['duplicate key', 'a: 1\nb: 2\na: 3\n', /^f\.yaml:3:1 error SP1011 duplicate key "a"; the first is at line 1:1$/],
  ['duplicate key in JSON', '{"a":1,"a":2}', /^f\.yaml:1:8 error SP1011/],
  ['same key as number and text', '80: a\n"80": b\n', /^f\.yaml:2:1 error SP1011/],
  ['tab as indentation', 'a:\n\tb: 1\n', /^f\.yaml:2:1 error SP1010 Tabs/],
  ['unclosed flow list', 'a: [1, 2\n', /^f\.yaml:\d:\d error SP1010/],
  ['colon in a bare value', 'a: b: c\n', /^f\.yaml:1:4 error SP1010/],
  ['unknown tag', 'a: !secret x\n', /^f\.yaml:1:4 error SP1014/],
  ['binary tag', 'a: !!binary aGk=\n', /^f\.yaml:1:\d+ error SP1014/],
  ['list as key', '? [a]\n: 1\n', /^f\.yaml:1:3 error SP1014/],
  ['no key', ': 1\n', /^f\.yaml:1:1 error SP1014/],
  ['__proto__', 'a: {"__proto__": {admin: true}}\n', /^f\.yaml:1:5 error SP1014/],
  ['alias without anchor', 'a: *b\n', /^f\.yaml:1:4 error SP1012/],
  ['alias of its own parent', 'a: &a [*a]\n', /^f\.yaml:1:8 error SP1012/],
  ['merge of a number', 'a: {<<: 3}\n', /^f\.yaml:1:5 error SP1012/],
  ['bottomless list', '['.repeat(10_000), /^f\.yaml:1:\d+ error SP1016/],
  ['bottomless block list', `${'- '.repeat(300)}x`, /^f\.yaml:1:\d+ error SP1016/],
]
for (const [name, text, finding] of REFUSED) {
  test(`refused: ${name}`, () => {
    const { findings } = read(text)
    assert.match(findings[0] ?? '', finding)
  })
}

test('an error in one document leaves the others readable', () => {
  const { values, findings } = read('a: [1\n---\nb: 2\n')
  assert.deepEqual(values, [{ b: 2 }])
  assert.equal(findings.length, 1)
})

test('a billion laughs are refused quickly', () => {
  const lines = ['l0: &l0 [x, x, x, x, x, x, x, x, x]']
  for (let i = 1; i < 12; i++)
    lines.push(
      `l${i}: &l${i} [${Array(9)
        .fill(`*l${i - 1}`)
        .join(', ')}]`,
    )
  const before = performance.now()
  const { values, findings } = read(lines.join('\n'))
  assert.deepEqual(values, [])
  assert.match(findings[0] ?? '', /SP1012 the aliases of this file expand to more than 50000 nodes/)
  assert.ok(performance.now() - before < 20_000, 'it would take hours')
})

test('what Kubernetes would read otherwise is warned about', () => {
  assert.deepEqual(read('a: yes\nb: "no"\nc: Off\nd: 010\n').findings, [
    'f.yaml:1:4 warning SP1013 bare yes is a boolean for Kubernetes and text here → write true, or "yes" if the text is meant',
    'f.yaml:3:4 warning SP1013 bare Off is a boolean for Kubernetes and text here → write false, or "Off" if the text is meant',
    'f.yaml:4:4 warning SP1015 010 is octal for Kubernetes and 10 here → write 10, or put quotes around it',
  ])
})

test('property: any text is read or refused, and every finding lies inside the file', () => {
  const piece = fc.oneof(
    fc.constantFrom(
      'a:',
      ' b: ',
      '- ',
      '\n',
      '\r\n',
      '  ',
      '\t',
      '"',
      "'",
      '[',
      ']',
      '{',
      '}',
      '&x ',
      '*x',
      '<<: ',
      '---\n',
      '# ',
      '|\n',
      '? ',
      '!t ',
      '\ufeff',
      'yes',
      '010',
      ': ',
      ',',
    ),
    fc.string({ unit: 'grapheme', maxLength: 6 }),
  )
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 30 }), (pieces) => {
      const text = pieces.join('')
      const { report, sorted } = collectDiagnostics()
      parseYaml(text, 'f.yaml', report)
      const lines = text.split('\n')
      for (const { line, col } of sorted()) {
        assert.ok(line >= 1 && line <= lines.length, `line ${line} of ${lines.length}`)
        assert.ok(col >= 1 && col <= (lines[line - 1] ?? '').length + 1, `col ${col} of line ${line}`)
      }
    }),
    { numRuns: 1_000 },
  )
})
