/** docs/threats.md, written from the table of attacks and from the titles of the tests (`threat 20: …`). */
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { THREAT_GROUPS } from './catalogue.ts'

const ROOT = path.resolve(import.meta.dirname, '../..')

export type TestSource = { readonly file: string; readonly text: string }

/** Every test of the repository; without the one that checks this list, which quotes titles. */
export function testSources(): TestSource[] {
  return ['src', 'test']
    .flatMap((folder) => readdirSync(path.join(ROOT, folder), { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile() && entry.name.endsWith('.test.ts'))
    .map((entry) => path.join(entry.parentPath, entry.name))
    .map((full) => ({ file: path.relative(ROOT, full).split(path.sep).join('/'), text: readFileSync(full, 'utf8') }))
    .filter(({ file }) => file !== 'test/threats/index.test.ts')
    .toSorted((a, b) => (a.file < b.file ? -1 : 1))
}

/** Numbers in titles: string literals that begin with `threat NN: `. Keys of tables are titles of subtests. */
export function threatsIn(text: string): number[] {
  return [...text.matchAll(/['"`]threat (\d+): /g)].map(([, number]) => Number(number))
}

/** Number → files whose titles name it, in alphabetical order. */
export function filesByThreat(sources: readonly TestSource[]): Map<number, string[]> {
  const found = new Map<number, string[]>()
  for (const { file, text } of sources)
    for (const number of new Set(threatsIn(text))) found.set(number, [...(found.get(number) ?? []), file])
  return found
}

const cell = (text: string) => text.replaceAll('|', '\\|')

/** The whole Markdown file. */
export function renderThreatsDoc(): string {
  const files = filesByThreat(testSources())
  const sections = THREAT_GROUPS.map(({ title, threats }) => {
    const rows = Object.entries(threats).map(([number, { attack, outcome }]) => {
      const tests = (files.get(Number(number)) ?? []).map((file) => `\`${file}\``)
      return `| ${number} | ${cell(attack)} | ${cell(outcome)} | ${tests.join(', ')} |\n`
    })
    return `## ${title}\n\n| no. | attack | expected outcome | tests |\n|---|---|---|---|\n${rows.join('')}`
  })
  return `# Threats

<!-- Written by \`npm run docs\` from test/threats/catalogue.ts and the titles of the tests. Do not edit. -->

Each attack is a named test: its title begins with \`threat NN:\`. At least one of the files sends it over real sockets to a
whole gateway and looks at what came back, at what the site saw and at the one line in the access log; others try the same
on an engine, or with generated input. Comments in the source use the same numbers. Attacks in which HTTP/1.1 has a part
(1–14 and 18–26) are tried over both engines; [test/fuzz](../test/fuzz/gateway.ts) tries them with whatever bytes it comes upon.

To run the tests of one: \`./bin/sallyport-node --test --test-name-pattern "threat 20:" "src/**/*.test.ts" "test/**/*.test.ts"\`

${sections.join('\n')}`
}
