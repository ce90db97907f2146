/** The command from the outside: arguments, streams, exit codes (contract §1). */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import test, { type TestContext } from 'node:test'
import { validate } from './validate.ts'

const BOOTSTRAP = `apiVersion: sallyport.dev/v1
kind: EgressGateway
metadata: {name: istio-egressgateway, namespace: istio-system}
spec:
  resources: [resources]
  identity: {certificateChain: a.pem, privateKey: b.pem, trustBundle: c.pem}
`
const GOOD = `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: a, namespace: outside}
spec:
  hosts: [a.example.com]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: DNS
`
const WARNS = GOOD.replace(', namespace: outside', '')
const BAD = GOOD.replace('number: 80', 'number: 99999')

async function run(t: TestContext, resources: string, argv: (directory: string) => readonly string[], isTTY = false) {
  const directory = mkdtempSync(path.join(tmpdir(), 'sallyport-validate-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  mkdirSync(path.join(directory, 'resources'))
  writeFileSync(path.join(directory, 'gateway.yaml'), BOOTSTRAP)
  writeFileSync(path.join(directory, 'resources', 'a.yaml'), resources)
  const out = { stdout: '', stderr: '' }
  const io = {
    stdout: { isTTY, write: (text: string) => (out.stdout += text) },
    stderr: { write: (text: string) => (out.stderr += text) },
  }
  const code = await validate(argv(directory), io)
  return { code, stdout: out.stdout.replaceAll(directory, 'DIR'), stderr: out.stderr }
}

const file = (directory: string) => ['-f', path.join(directory, 'gateway.yaml')]

test('0: nothing to say', async (t) => {
  assert.deepEqual(await run(t, GOOD, file), { code: 0, stdout: '', stderr: '0 errors, 0 warnings\n' })
})

test('1: an error, as file:line:col severity CODE message', async (t) => {
  const { code, stdout, stderr } = await run(t, BAD, file)
  assert.equal(code, 1)
  assert.equal(
    stdout,
    'DIR/resources/a.yaml:6:20 error SP1000 spec.ports[0].number: must be at most 65535, found 99999\n',
  )
  assert.equal(stderr, '1 error, 0 warnings\n')
})

test('warnings are allowed, with --strict they are errors', async (t) => {
  const first = await run(t, WARNS, file)
  assert.equal(first.code, 0)
  assert.match(first.stdout, /^DIR\/resources\/a\.yaml:3:1 warning SP1025 /)
  const strict = await run(t, WARNS, (directory) => [...file(directory), '--strict'])
  assert.equal(strict.code, 1)
  assert.match(strict.stdout, / error SP1025 /)
})

test('directories without a bootstrap', async (t) => {
  const directories = (directory: string) => [path.join(directory, 'resources')]
  assert.equal((await run(t, GOOD, directories)).code, 0)
  assert.equal((await run(t, BAD, directories)).code, 1)
  const missing = await run(t, GOOD, (directory) => [path.join(directory, 'nowhere')])
  assert.equal(missing.code, 1)
  assert.match(missing.stdout, /^DIR\/nowhere:1:1 error SP1001 does not exist$/m)
})

test('-o json', async (t) => {
  const { code, stdout } = await run(t, BAD, (directory) => [...file(directory), '-o', 'json'])
  assert.equal(code, 1)
  const { errors, warnings, diagnostics } = JSON.parse(stdout) as {
    readonly errors: number
    readonly warnings: number
    readonly diagnostics: readonly Readonly<Record<string, unknown>>[]
  }
  assert.deepEqual([errors, warnings, diagnostics.length], [1, 0, 1])
  assert.deepEqual(diagnostics[0], {
    file: 'DIR/resources/a.yaml',
    line: 6,
    col: 20,
    severity: 'error',
    code: 'SP1000',
    message: 'spec.ports[0].number: must be at most 65535, found 99999',
    fix: null,
  })
})

test('colour only on a terminal, and never when told so', async (t) => {
  assert.ok((await run(t, BAD, file, true)).stdout.includes('\u001b[31merror'))
  assert.ok(!(await run(t, BAD, file, false)).stdout.includes('\u001b'))
  assert.ok(
    !(await run(t, BAD, (directory) => [...file(directory), '--color', 'never'], true)).stdout.includes('\u001b'),
  )
  const before = process.env['NO_COLOR']
  process.env['NO_COLOR'] = '1'
  t.after(() => {
    if (before === undefined) delete process.env['NO_COLOR']
    else process.env['NO_COLOR'] = before
  })
  assert.ok(!(await run(t, BAD, file, true)).stdout.includes('\u001b'))
})

const MISUSE: readonly (readonly string[])[] = [
  [],
  ['--nope'],
  ['-f'],
  ['-f', 'a.yaml', 'dir'],
  ['-f', 'a.yaml', '-o', 'xml'],
  ['-f', 'a.yaml', '--color', 'always'],
]
for (const argv of MISUSE) {
  test(`2: usage: ${argv.join(' ') || '(nothing)'}`, async (t) => {
    const { code, stdout, stderr } = await run(t, GOOD, () => argv)
    assert.equal(code, 2)
    assert.equal(stdout, '')
    assert.match(stderr, /usage: sallyport validate/)
  })
}
