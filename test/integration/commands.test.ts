/** The commands as a script sees them: exit codes, stdout, stderr (contract §1). `run` that starts: process.test.ts. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import net from 'node:net'
import { describe, it } from 'node:test'
import { COMMANDS, type Command } from '../../src/cli/args.ts'
import { VERSION } from '../../src/core/version.ts'
import { sallyport, workspace } from './child.ts'
import { authorizationPolicy, documents, gateway, ISTIO_MUTUAL, serviceEntry, to, virtualService } from './manifests.ts'

const HOST = 'site.example'
const CALLER = 'spiffe://cluster.local/ns/mytest/sa/sleep'

type Done = Awaited<ReturnType<typeof sallyport>>

/** A command in this process: a start of Node costs a second or more. Usage errors are main.ts' business, see below. */
async function here([name = '', ...args]: readonly string[]): Promise<Done> {
  let [stdout, stderr] = ['', '']
  const io = {
    stdout: { write: (text: string) => (stdout += text) },
    stderr: { write: (text: string) => (stderr += text) },
  }
  const code = await (COMMANDS[name] as Command).main([...args], io)
  return { code, stdout, stderr }
}

describe('sallyport run', () => {
  it('that cannot start: exit 1, every problem on stderr, nothing on stdout', async (t) => {
    const busy = net.createServer().listen(0, '127.0.0.1')
    t.after(() => busy.close())
    await once(busy, 'listening')
    const { port } = busy.address() as net.AddressInfo
    const base = documents(gateway({ tls: ISTIO_MUTUAL }))
    const bad = await workspace(t, {
      'base.yaml': base,
      'one.yaml': 'kind: [',
      'two.yaml': documents(authorizationPolicy('x', 'DENY', [{ form: [] }])),
    })
    const keyless = await workspace(t, { 'base.yaml': base })
    keyless.write('identity/key.pem', 'gone')
    const taken = await workspace(t, { 'base.yaml': base }, { ports: { 80: port } })
    const files = [bad.bootstrap, keyless.bootstrap, taken.bootstrap, `${bad.dir}/nowhere.yaml`]
    const results = await Promise.all(files.map((file) => sallyport(['run', '-f', file])))
    assert.deepEqual(
      results.map(({ code, stdout }) => [code, stdout]),
      files.map(() => [1, '']),
    )
    const [wrong, noKey, busyPort, noFile] = results.map(({ stderr }) => stderr) as [string, string, string, string]
    assert.match(wrong, /one\.yaml:1:\d+ error SP1010 /)
    assert.match(wrong, /two\.yaml:\d+:\d+ error SP1030 .*form/)
    assert.match(noKey, /identity\/key\.pem: /)
    assert.match(busyPort, new RegExp(`Gateway port 80: cannot listen on 127\\.0\\.0\\.1:${port}: .*EADDRINUSE`))
    assert.match(noFile, /nowhere\.yaml:1:1 error SP1001 does not exist/)
    for (const { stderr } of results) assert.match(stderr, /not started/)
  })
})

describe('sallyport', () => {
  it('called wrongly says how: exit 2; an unknown command gets the list of commands', async () => {
    const wrong = [['run'], ['explain', '-f', 'a', 'GET'], ['fly'], ['version', '--nope'], ['version', 'more']]
    const [version, ...results] = await Promise.all([['version'], ...wrong].map((args) => sallyport(args)))
    assert.deepEqual(
      results.map(({ code, stdout }) => [code, stdout]),
      wrong.map(() => [2, '']),
    )
    for (const { stderr } of results) assert.match(stderr, /^usage: sallyport/im)
    assert.match(results[2]?.stderr ?? '', /unknown command "fly"/)
    for (const command of ['run', 'validate', 'explain', 'certs', 'version'])
      assert.ok(results[2]?.stderr.includes(`sallyport ${command}`), command)
    assert.equal(version?.code, 0)
    assert.match(version?.stdout ?? '', new RegExp(`^sallyport ${VERSION.replaceAll('.', '\\.')} \\(node 24\\.`))
  })
})

describe('sallyport validate', () => {
  it('0 without errors, 1 with errors or with --strict and warnings; file:line:col for each finding', async (t) => {
    const good = await workspace(t, { 'base.yaml': documents(gateway()) })
    const warned = await workspace(t, {
      'base.yaml': documents(gateway(), { ...authorizationPolicy('x', 'DENY', [{}]), metadata: { name: 'x' } }),
    })
    const bad = await workspace(t, {
      'base.yaml': documents(gateway(), authorizationPolicy('x', 'DENY', [{ form: [] }])),
    })
    const calls = [
      ['validate', '-f', good.bootstrap],
      ['validate', '-f', warned.bootstrap],
      ['validate', '-f', warned.bootstrap, '--strict'],
      ['validate', '-f', bad.bootstrap],
      ['validate', '-f', bad.bootstrap, '-o', 'json'],
    ]
    const results = await Promise.all(calls.map((args) => here(args)))
    const real = await sallyport(['validate', '-f', bad.bootstrap])
    assert.deepEqual([real.code, real.stdout], [1, results[3]?.stdout])
    assert.deepEqual(
      results.map(({ code }) => code),
      [0, 0, 1, 1, 1],
    )
    const [clean, warnings, strict, errors, json] = results.map(({ stdout }) => stdout) as [
      string,
      string,
      string,
      string,
      string,
    ]
    assert.equal(clean, '')
    assert.match(warnings, /base\.yaml:\d+:\d+ warning SP1025 .* → /)
    assert.match(strict, /base\.yaml:\d+:\d+ error SP1025 /)
    assert.match(errors, /base\.yaml:\d+:\d+ error SP1030 .*form/)
    const parsed = JSON.parse(json) as { errors: number; diagnostics: { code: string; line: number }[] }
    assert.ok(parsed.errors > 0 && parsed.diagnostics.some(({ code, line }) => code === 'SP1030' && line > 1))
  })
})

describe('sallyport explain', () => {
  it('0 allowed, 1 refused, 2 config error; names policy, rule and route with file:line', async (t) => {
    const resources = documents(
      gateway({ tls: ISTIO_MUTUAL }),
      serviceEntry('site', HOST, 8000),
      virtualService('site', [HOST], [{ match: [{ uri: { prefix: '/api' } }], route: to(HOST) }]),
      authorizationPolicy('no-post', 'DENY', [{ to: [{ operation: { methods: ['POST'] } }] }]),
    )
    const files = await workspace(t, { 'base.yaml': resources })
    const broken = await workspace(t, { 'base.yaml': 'kind: [' })
    const ask = (...args: string[]) => here(['explain', '-f', files.bootstrap, '--from', CALLER, ...args])
    const [allowed, denied, lost, unknown, anonymous, unreadable] = (await Promise.all([
      ask('GET', `http://${HOST}/api/x`),
      ask('POST', `http://${HOST}/api/x`),
      ask('GET', `http://${HOST}/other`),
      ask('-o', 'json', 'GET', 'http://else.example/'),
      here(['explain', '-f', files.bootstrap, 'GET', `http://${HOST}/api/x`]),
      here(['explain', '-f', broken.bootstrap, 'GET', `http://${HOST}/`]),
    ])) as [Done, Done, Done, Done, Done, Done]
    assert.deepEqual(
      [allowed, denied, lost, unknown, anonymous, unreadable].map(({ code }) => code),
      [0, 1, 1, 1, 1, 2],
    )
    const real = await sallyport(['explain', '-f', files.bootstrap, '--from', CALLER, 'POST', `http://${HOST}/api/x`])
    assert.deepEqual([real.code, real.stdout], [1, denied.stdout])
    assert.match(allowed.stdout, /route MATCHES {2}.*base\.yaml:\d+:\d+/)
    assert.match(allowed.stdout, /cluster: outbound\|80\|\|site\.example/)
    assert.match(denied.stdout, /decided by: ns\[istio-system\]-policy\[no-post\]-rule\[0\] at .*base\.yaml:\d+:\d+/)
    assert.match(denied.stdout, /refused: 403 rbac_denied/)
    assert.match(lost.stdout, /route no match {2}.*base\.yaml:\d+/)
    assert.match(lost.stdout, /refused: 404 no_route/)
    const { status, reason } = JSON.parse(unknown.stdout) as { status: number; reason: string }
    assert.deepEqual([status, reason], [502, 'not_registered'])
    assert.match(anonymous.stdout, /policies: not consulted[^]*no_client_certificate/)
    assert.match(unreadable.stderr, /base\.yaml:1:\d+ error SP1010 /)
  })
})
