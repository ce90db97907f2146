/** Every attack of the catalogue is a named test against a whole gateway, and docs/threats.md says where. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { OVER_BOTH_ENGINES, THREAT_GROUPS } from './catalogue.ts'
import { filesByThreat, type TestSource, testSources, threatsIn } from './document.ts'

const NUMBERS = THREAT_GROUPS.flatMap(({ threats }) => Object.keys(threats).map(Number))
const SOURCES = testSources()

/** It starts a gateway with all its listeners; what starts one for it counts. */
const startsGateway = ({ text }: TestSource) =>
  /from '(?:\.\.?\/)+(?:src\/testing\/harness|(?:integration\/)?(?:started|site))\.ts'/.test(text)

/** Its `test` runs everything once for each engine; what a file runs only once has another name there. */
const overBothEngines = ({ text }: TestSource) =>
  /^import \{[^}]*\btest\b[^}]*\} from '(?:\.\.?\/)+(?:integration\/)?engines\.ts'/m.test(text)

/** The parts of a file that `test` registers. */
const withoutOnce = (source: TestSource): TestSource => ({
  ...source,
  text: source.text.replaceAll(/\btestOnce\(\s*['"`]threat \d+: /g, ''),
})

/** Titles that mean a number but would not be counted. */
const misspelt = (text: string) =>
  [...text.matchAll(/['"`](threats?\b[^'"`\n]{0,20})/gi)]
    .map(([, title]) => title ?? '')
    .filter((title) => /^threats?\W*\d/i.test(title) && !/^threat \d+: \S/.test(title))

test('the numbers are 1 to 44, each once, in order', () => {
  assert.deepEqual(
    NUMBERS,
    Array.from({ length: 44 }, (_, i) => i + 1),
  )
})

test('every number has a test against a whole gateway', () => {
  const whole = filesByThreat(SOURCES.filter(startsGateway))
  assert.deepEqual(
    NUMBERS.filter((number) => !whole.has(number)),
    [],
  )
})

test('attacks in which HTTP/1.1 has a part are tried over both engines', () => {
  const both = filesByThreat(SOURCES.filter(startsGateway).filter(overBothEngines).map(withoutOnce))
  assert.deepEqual(
    [...OVER_BOTH_ENGINES].filter((number) => !both.has(number)),
    [],
  )
  const text = "import { differences, test } from '../integration/engines.ts'"
  assert.equal(overBothEngines({ file: 'a', text }), true)
  assert.equal(overBothEngines({ file: 'a', text: "import { test } from 'node:test'" }), false)
  assert.deepEqual(
    threatsIn(withoutOnce({ file: 'a', text: "testOnce('threat 9: x')\ntest('threat 8: y')" }).text),
    [8],
  )
})

test('every number in a title is in the catalogue, and titles are spelt so that they count', () => {
  const known = new Set(NUMBERS)
  for (const { file, text } of SOURCES) {
    assert.deepEqual(
      threatsIn(text).filter((number) => !known.has(number)),
      [],
      file,
    )
    assert.deepEqual(misspelt(text), [], file)
  }
})

test('docs/threats.md lists exactly these files for each number', () => {
  const document = readFileSync(new URL('../../docs/threats.md', import.meta.url), 'utf8')
  const listed = new Map<number, string[]>()
  for (const [, number, tests] of document.matchAll(/^\| (\d+) \|.*\| ([^|]*) \|$/gm))
    listed.set(
      Number(number),
      (tests ?? '').split(', ').map((each) => each.replaceAll('`', '')),
    )
  const found = filesByThreat(SOURCES)
  assert.deepEqual(
    [...listed],
    NUMBERS.map((number) => [number, found.get(number)]),
  )
})

test('the scan sees titles, keys and templates, and nothing else', () => {
  const text = `
    test('threat 1: a', () => {})
    for (const x of y) test(\`threat 2: \${x}\`, () => {})
    const ROWS = { 'threat 3: b': 1, "threat 3: c": 2 }
    // threat 4: in a comment
    test('of threat 5: no', () => {})
  `
  assert.deepEqual(threatsIn(text), [1, 2, 3, 3])
  for (const title of ["'threat 6 : a'", "'threats 6: a'", "'Threat 6: a'", "'threat 6:a'", "'threat: 6'"])
    assert.equal(misspelt(title).length, 1, title)
  assert.deepEqual(misspelt("'threat 6: a' 'threatening 6'"), [])
  const source = { file: 'test/a.test.ts', text: "import { started } from '../integration/started.ts'" }
  assert.equal(startsGateway(source), true)
  assert.equal(startsGateway({ ...source, text: "import { x } from './engine.ts'" }), false)
  assert.deepEqual(
    [
      ...filesByThreat([
        { file: 'a', text },
        { file: 'b', text: "'threat 1: z'" },
      ]),
    ][0],
    [1, ['a', 'b']],
  )
})
