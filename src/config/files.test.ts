/** Real directories, as people and Kubernetes lay them out. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import test, { type TestContext } from 'node:test'
import { formatDiagnostic } from './diagnostics.ts'
import { displayFromHere, listResourceFiles, MAX_FILE_BYTES, readText } from './files.ts'
import { collectDiagnostics } from './report.ts'

function makeDirectory(t: TestContext): string {
  const directory = mkdtempSync(path.join(tmpdir(), 'sallyport-files-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

/** Lists `paths` and reads every file; names are relative to the directory. */
function read(directory: string, paths: readonly string[]) {
  const { report, sorted } = collectDiagnostics()
  const display = (file: string) => path.relative(directory, file) || '.'
  const files = listResourceFiles(
    paths.map((each) => path.resolve(directory, each)),
    display,
    report,
  )
  const texts = files.map((file) => readText(file, display, report))
  return { files: files.map(display), texts, findings: sorted().map(formatDiagnostic) }
}

test('recursive, sorted, only YAML and JSON, hidden names left out', (t) => {
  const directory = makeDirectory(t)
  for (const name of ['b.yml', 'a.yaml', 'c/d.JSON', 'c/notes.txt', '.hidden.yaml', '.git/x.yaml', '..old/y.yaml']) {
    mkdirSync(path.dirname(path.join(directory, name)), { recursive: true })
    writeFileSync(path.join(directory, name), 'a: 1')
  }
  assert.deepEqual(read(directory, ['.']), {
    files: ['a.yaml', 'b.yml', 'c/d.JSON'],
    texts: ['a: 1', 'a: 1', 'a: 1'],
    findings: [],
  })
})

test('a file named outright is read whatever it is called', (t) => {
  const directory = makeDirectory(t)
  writeFileSync(path.join(directory, 'policy.txt'), 'a: 1')
  assert.deepEqual(read(directory, ['policy.txt', 'policy.txt']).files, ['policy.txt'])
})

test('missing, empty, too large, of other bytes', (t) => {
  const directory = makeDirectory(t)
  writeFileSync(path.join(directory, 'a.yaml'), '')
  writeFileSync(path.join(directory, 'b.yaml'), ' \n\t\n')
  writeFileSync(path.join(directory, 'c.yaml'), Buffer.from([0x61, 0x3a, 0x20, 0xff, 0xfe]))
  writeFileSync(path.join(directory, 'd.yaml'), '#'.repeat(MAX_FILE_BYTES + 1))
  const { texts, findings } = read(directory, ['.', 'gone.yaml'])
  assert.deepEqual(texts, [null, null, null, null])
  assert.deepEqual(findings, [
    'a.yaml:1:1 error SP1002 is empty → remove the file if its resources are meant to go',
    'b.yaml:1:1 error SP1002 is empty → remove the file if its resources are meant to go',
    'c.yaml:1:1 error SP1004 is not UTF-8',
    'd.yaml:1:1 error SP1003 has 16777217 bytes; 16777216 are allowed',
    'gone.yaml:1:1 error SP1001 does not exist',
  ])
})

test('a directory without resource files is warned about', (t) => {
  const directory = makeDirectory(t)
  assert.deepEqual(read(directory, ['.']).findings, ['.:1:1 warning SP1005 holds no *.yaml, *.yml or *.json file'])
})

test('a Kubernetes volume: links into ..data are read once, dangling ones are errors, loops end', (t) => {
  const directory = makeDirectory(t)
  mkdirSync(path.join(directory, '..2026_01_01'))
  writeFileSync(path.join(directory, '..2026_01_01', 'a.yaml'), 'a: 1')
  symlinkSync('..2026_01_01', path.join(directory, '..data'))
  symlinkSync('..data/a.yaml', path.join(directory, 'a.yaml'))
  symlinkSync('..data/a.yaml', path.join(directory, 'same.yaml'))
  symlinkSync('..data/gone.yaml', path.join(directory, 'gone.yaml'))
  symlinkSync('.', path.join(directory, 'loop'))
  assert.deepEqual(read(directory, ['.', 'a.yaml']), {
    files: ['a.yaml'],
    texts: ['a: 1'],
    findings: ['gone.yaml:1:1 error SP1001 does not exist'],
  })
})

test('names are shown relative to where one stands, absolute from elsewhere', () => {
  assert.equal(displayFromHere(path.resolve('config/gateway.yaml')), 'config/gateway.yaml')
  assert.equal(displayFromHere('/somewhere/else.yaml'), '/somewhere/else.yaml')
})
