/** The plain reader reads what the whole parser reads, place by place, or leaves it alone. */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import test from 'node:test'
import fc from 'fast-check'
import { collectDiagnostics } from './report.ts'
import { parseWholeYaml } from './yaml.ts'
import { readPlainYaml } from './yaml-plain.ts'

const ROOT = path.resolve(import.meta.dirname, '../..')
const RUNS = Number(process.env['PLAIN_YAML_RUNS'] ?? 300)

/** True when it was read; then the whole parser has read the same, and had nothing to say. */
function agrees(text: string): boolean {
  const plain = readPlainYaml(text)
  if (plain === null) return false
  const { report, sorted } = collectDiagnostics()
  const whole = parseWholeYaml(text, 'f.yaml', report).map(({ root }) => root)
  assert.deepEqual(sorted(), [], text)
  assert.deepEqual(plain, whole, text)
  return true
}

/** Every YAML file of the repository that is no test of broken YAML. */
const FILES = ['config', 'demo', 'k8s', 'test/scenarios']
  .flatMap((folder) => readdirSync(path.join(ROOT, folder), { recursive: true, withFileTypes: true }))
  .filter((entry) => entry.isFile() && entry.name.endsWith('.yaml'))
  .map((entry) => path.join(entry.parentPath, entry.name))
const TEXTS = FILES.map((file) => readFileSync(file, 'utf8'))

test('the files that people mount are read plainly', () => {
  const left = FILES.filter((_, index) => !agrees(TEXTS[index] ?? ''))
  assert.ok(FILES.length >= 40, String(FILES.length))
  assert.ok(left.length <= FILES.length / 10, left.join('\n'))
})

const READ: readonly string[] = [
  'a: 1\n',
  'a: 1',
  "# c\n\na:   # d\n  - b: x y  # e\n    c: 0.5\n  - d\n\n---\na:\n- b\n- c: {d: e, f: [1, \"2\", 'it''s']}\n",
  'a: {}\nb: []\nc: ""\nd: \'\'\n',
  'host: *.example.com\n'.replace('*', '"*').replace('com', 'com"'),
  'a: -x\nb: http://x/y?z=1#f\nc: 10.0.0.1\nd: a, b [c] {d} "e"\n80: x\n1.50: z\n',
  'a:\n  - - x\n'.replace('- - x', '- x'),
  'ä: 1\n'.replace('ä', 'a').replace('1', 'ä\u00a0'),
  '\n---\n\n---\n# nothing\n',
  'a:\n    b:\n     - c\n     -   d: 1\n         e: 2\n    f: g\n',
  '{"a":1}',
  '{}\n---\n{ "a" : 1 }\n'.replace('a" ', 'a"'),
  '# c\n{"a": {"b": [1, 0.5, true, false, null, "", [], {}]},\n"c":\n\n  "d: #e"\n}  # f\n---\na: b\n---\n{\n}\n',
  String.raw`{"a": "\"\\\/\b\f\n\r\t\u00e4\ud83d\ude00ä", "yes": "no", "<<": {"1": "~"}, "{}": "---"}`,
]

const LEFT: readonly string[] = [
  'a: &x 1\n',
  'a: *x\n',
  'a: !t 1\n',
  'a: |\n  x\n',
  'a: >\n  x\n',
  'a:\n',
  'a: ~\n',
  'a: null\n',
  'a: yes\n',
  'a: 007\n',
  'a: 0x1\n',
  'a: 1e3\n',
  'a: -1\n',
  'a: b\n  c\n',
  'a: "b\n  c"\n',
  'a: "\\n"\n',
  'a: b: c\n',
  'a: b:\n',
  'a:\tb\n',
  'a: 1\r\n',
  '"a": 1\n',
  '? a\n: b\n',
  '<<: {a: 1}\n',
  '- a\n',
  'a\n',
  '{a: 1}\n',
  '{"a": 1, "a": 2}',
  '{"a" : 1}',
  '{"__proto__": 1}',
  '{"a": 1,}',
  '{"a": 1} {}',
  '{"a": 1}\n{"b": 2}',
  '{"a": 1}\nb: 2',
  ' {"a": 1}',
  '[1]',
  '{"a": 1',
  '{"a": -1}',
  '{"a": 1e3}',
  '{"a": 01}',
  '{"a": 1234567890123456}',
  '{"a": "b\n  c"}',
  String.raw`{"a": "\x41"}`,
  '{"a": b}',
  '{"a": nullx}',
  '{"a": true1}',
  '{"a": 1 # b\n}',
  '{"a": 1\n---\n}',
  '{"a":\t1}',
  `{"${'k'.repeat(1_100)}": 1}`,
  `${'{"a":'.repeat(60)}1${'}'.repeat(60)}`,
  'a: 1\na: 2\n',
  '__proto__: 1\n',
  'a: [b: c]\n',
  'a: [1,\n 2]\n',
  'a: [1,]\n',
  'a: {b}\n',
  'a: {b: 1\n',
  'a: [x #y]\n',
  "a: 'b'c\n",
  'a: 1\n b: 2\n',
  ' a: 1\nb: 2\n',
  'a:\n  - b\n - c\n',
  'a:\n  b: 1\n- c\n',
  '%YAML 1.1\n---\na: 1\n',
  'a: 1\n...\n',
  '--- a: 1\n',
  '---\u00a0\na: 1\n',
  'a: @b\n',
  'a: `b\n',
  'a: %b\n',
  'a: ]\n',
  'a: b #c\n  d\n',
  'a:\n  - b\n    c\n',
  '\ufeffa: 1\n',
  '[]: 1\n',
  'a b: 1\n',
  'a:b\n',
]

test('plain texts are read, with comments, blank lines and every indentation', () => {
  for (const text of READ) assert.ok(agrees(text), text)
})

test('everything else is left to the parser', () => {
  for (const text of LEFT) assert.equal(readPlainYaml(text), null, text)
})

test('whatever the text: the same, or left alone', () => {
  const piece = fc.constantFrom(
    ...'abx01.~|>&*!?%@`,[]{}"\'#:-=/$\\ä'.split(''),
    ' ',
    ' ',
    ' ',
    '\n',
    '\n',
    '\n  ',
    ': ',
    '- ',
    ' #',
    '---\n',
    'a: ',
    'b:',
    '  - ',
    'true',
    'null',
    'yes',
    '0.50',
    '12',
    '1e5',
    '0x1f',
    '.inf',
    '\u00a0',
    '\t',
  )
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 40 }), (pieces) => {
      agrees(pieces.join(''))
    }),
    { numRuns: RUNS * 10 },
  )
})

test('JSON, however it is laid out and broken: the same, or left alone', () => {
  const word = fc.oneof(fc.string(), fc.constantFrom('a\nb\\', 'ä😀\u2028', '# x', '---', 'null', '\u0001', '<<'))
  const blank = fc.constantFrom('', ' ', '\n', '\n  ')
  const character = fc.constantFrom(...'\n\n  :-#[]{},"\\un0.\t'.split(''))
  const change = fc.record({ at: fc.nat(), insert: fc.array(character, { maxLength: 2 }), remove: fc.nat({ max: 2 }) })
  let read = 0
  fc.assert(
    fc.property(
      fc.object({ key: word, values: [word, fc.nat(), fc.boolean(), fc.constant(null)] }),
      fc.array(blank, { minLength: 1, maxLength: 5 }),
      fc.option(change, { freq: 1 }),
      (value, blanks, changed) => {
        let next = 0
        const layOut = (text: string) => text + (blanks[next++ % blanks.length] ?? '')
        let text = JSON.stringify(value, null, blanks.length - 1).replaceAll(/[[,{]/g, layOut)
        if (changed !== null) {
          const place = changed.at % (text.length + 1)
          text = text.slice(0, place) + changed.insert.join('') + text.slice(place + changed.remove)
        }
        if (agrees(text)) read += 1
      },
    ),
    { numRuns: RUNS * 3 },
  )
  assert.ok(read > RUNS / 2, `${read} of ${RUNS * 3} were read at all`)
})

test('files with a few characters changed: the same, or left alone', () => {
  const character = fc.constantFrom(...'\n\n  :-#[]{},"\'&*!|>%@`?~a0.\\\t\u00a0'.split(''))
  const change = fc.record({ at: fc.nat(), remove: fc.nat({ max: 3 }), insert: fc.array(character, { maxLength: 3 }) })
  let read = 0
  fc.assert(
    fc.property(
      fc.nat({ max: TEXTS.length - 1 }),
      fc.array(change, { minLength: 1, maxLength: 3 }),
      (index, changes) => {
        let text = TEXTS[index] ?? ''
        for (const { at, remove, insert } of changes) {
          const place = at % (text.length + 1)
          text = text.slice(0, place) + insert.join('') + text.slice(place + remove)
        }
        if (agrees(text)) read += 1
      },
    ),
    { numRuns: RUNS },
  )
  assert.ok(read > RUNS / 10, `${read} of ${RUNS} were read at all`)
})
