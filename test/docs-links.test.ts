/**
 * The documents point at things that exist: relative links, their anchors, and the paths written as `code`; and the README
 * shows the two commands exactly as the contract has them.
 */
import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'

const ROOT = path.resolve(import.meta.dirname, '..')
const FOLDERS = ['docs', 'config', 'k8s', 'loadtest', 'certs', 'test', 'demo', 'bench']

function documents(): string[] {
  const top = readdirSync(ROOT).filter((name) => name.endsWith('.md'))
  const below = FOLDERS.filter((folder) => existsSync(path.join(ROOT, folder))).flatMap((folder) =>
    readdirSync(path.join(ROOT, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.md'))
      .map((name) => path.join(folder, name)),
  )
  return [...top, ...below].sort()
}

/** Fenced blocks hold commands and samples, not links. */
const withoutFences = (text: string) => text.replace(/^```[\s\S]*?^```/gm, '')

/** GitHub's rule: lower case, punctuation off, spaces to hyphens. */
const anchor = (heading: string) =>
  heading
    .replace(/`/g, '')
    .trim()
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, '')
    .replace(/\s/g, '-')

const anchorsOf = (text: string) =>
  [...withoutFences(text).matchAll(/^#{1,6}\s+(.+)$/gm)].map((match) => anchor(match[1] ?? ''))

function linkProblems(file: string, text: string): string[] {
  const problems: string[] = []
  for (const match of withoutFences(text).matchAll(/\]\(([^)\s]+)\)/g)) {
    const target = match[1] ?? ''
    if (/^[a-z]+:/.test(target)) continue
    const [relative = '', fragment] = target.split('#')
    const full = relative === '' ? path.join(ROOT, file) : path.resolve(ROOT, path.dirname(file), relative)
    if (!existsSync(full)) problems.push(`${file}: ${target} does not exist`)
    else if (fragment !== undefined && statSync(full).isFile()) {
      const anchors = anchorsOf(relative === '' ? text : readFileSync(full, 'utf8'))
      if (!anchors.includes(fragment)) problems.push(`${file}: ${target}: no such heading`)
    }
  }
  return problems
}

/** `src/…`, `test/…` and so on in code spans, when they are plain paths (no placeholders or wildcards). */
function pathProblems(file: string, text: string): string[] {
  const problems: string[] = []
  for (const match of withoutFences(text).matchAll(
    /`((?:src|test|docs|config|bin|bench|scripts|demo|\.ci)\/[\w./-]+)`/g,
  )) {
    const target = match[1] ?? ''
    if (!existsSync(path.join(ROOT, target))) problems.push(`${file}: \`${target}\` does not exist`)
  }
  return problems
}

const read = (file: string) => readFileSync(path.join(ROOT, file), 'utf8')

test('the documents are found', () => {
  const names = documents()
  for (const name of [
    'README.md',
    'SECURITY.md',
    'CONTRIBUTING.md',
    'CHANGELOG.md',
    'AGENTS.md',
    'docs/architecture.md',
  ])
    assert.ok(names.includes(name), `${name} is missing`)
  assert.ok(names.filter((name) => name.startsWith('docs/decisions/')).length >= 9)
})

test('relative links and their anchors lead somewhere', () => {
  assert.deepEqual(
    documents().flatMap((file) => linkProblems(file, read(file))),
    [],
  )
})

test('paths named in the documents exist', () => {
  assert.deepEqual(
    documents().flatMap((file) => pathProblems(file, read(file))),
    [],
  )
})

test('the README shows both commands, alone on a line', () => {
  const lines = read('README.md').split('\n')
  assert.ok(lines.includes('npm ci && npm run demo'))
  assert.ok(lines.includes('npm ci && npm test'))
})

test('.ci/run can be executed and ends with the README’s test command', () => {
  assert.ok((statSync(path.join(ROOT, '.ci/run')).mode & 0o111) !== 0, 'no run bit')
  assert.equal(read('.ci/run').trimEnd().split('\n').at(-1), 'npm ci && npm test')
})

test('AGENTS.md stays short', () => {
  assert.ok(read('AGENTS.md').split('\n').length <= 80)
})

test('a dead link, a dead anchor and a dead path are found', () => {
  assert.equal(linkProblems('README.md', 'see [x](docs/nowhere.md)').length, 1)
  assert.equal(linkProblems('README.md', '# Here\n[x](#here) [y](#there)').length, 1)
  assert.equal(pathProblems('README.md', 'in `src/nowhere.ts` or `src/*.ts`').length, 1)
})
