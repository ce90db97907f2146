/** Reloading (contract §9): all or nothing, at once for the next request, and never at the cost of a connection. */
import assert from 'node:assert/strict'
import { readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import { type Harness, startHarness } from '../../src/testing/harness.ts'
import { plainConnect, request } from '../../src/testing/mesh-client.ts'
import { type EchoOrigin, startEchoOrigin } from '../../src/testing/origin.ts'
import { customPolicy } from './authorizers.ts'
import { authorizationPolicy, documents, gateway, serviceEntry, to, virtualService } from './manifests.ts'
import { askControl, sample } from './operator.ts'
import { started } from './started.ts'

const HOST = 'site.example'
const DENY_ALL = documents(authorizationPolicy('deny-all', 'DENY', [{}]))

let origin: EchoOrigin
const base = () =>
  documents(gateway(), serviceEntry('site', HOST, origin.port), virtualService('site', [HOST], [{ route: to(HOST) }]))

before(async () => {
  origin = await startEchoOrigin()
})
after(() => origin.close())

describe('a policy edit', () => {
  it('applies to the next request of a kept-alive connection, both ways', async (t) => {
    const harness = await started(t, { resources: { 'base.yaml': base() } })
    const socket = await plainConnect(harness.gateway.port(80))
    assert.equal((await request(socket, HOST)).status, 200)
    assert.deepEqual(await harness.change({ 'deny.yaml': DENY_ALL }), { ok: true, errors: [] })
    const denied = await request(socket, HOST)
    assert.deepEqual([denied.status, denied.headers['x-sallyport-reason']], [403, 'rbac_denied'])
    assert.ok((await harness.change({ 'deny.yaml': null })).ok)
    assert.equal((await request(socket, HOST)).status, 200)
    assert.equal(await sample(harness, 'sallyport_config_generation'), 3)
    assert.deepEqual(
      (await harness.lines(3)).map((line) => [line['response_code'], line['downstream_remote_address']]),
      [200, 403, 200].map((code) => [code, `127.0.0.1:${socket.localPort}`]),
    )
    socket.destroy()
    await harness.stop(3)
  })

  it('does not touch a request under way, nor the pooled connection outside', async (t) => {
    const harness = await started(t, { resources: { 'base.yaml': base() } })
    const accepted = origin.accepted()
    const socket = await plainConnect(harness.gateway.port(80))
    const other = await plainConnect(harness.gateway.port(80))
    const seen = origin.requests.length
    const slow = request(socket, HOST, { path: '/delay/0.5' })
    await eventually('the request is outside', () => origin.requests.length > seen)
    assert.ok((await harness.change({ 'deny.yaml': DENY_ALL })).ok)
    assert.equal((await request(other, HOST)).status, 403)
    const answer = await slow
    assert.deepEqual([answer.status, answer.complete], [200, true])
    assert.ok((await harness.change({ 'deny.yaml': null })).ok)
    assert.equal((await request(socket, HOST)).status, 200)
    assert.equal(origin.accepted(), accepted + 1, 'one connection outside through three configurations')
    socket.destroy()
    other.destroy()
    await harness.stop(3)
  })

  it('that changes nothing is no new generation', async (t) => {
    const harness = await started(t, { resources: { 'base.yaml': base() } })
    assert.deepEqual(await harness.change({}), { ok: true, errors: [] })
    assert.ok((await harness.change({ 'base.yaml': base() })).ok)
    assert.equal(await sample(harness, 'sallyport_config_generation'), 1)
    assert.equal(await sample(harness, 'sallyport_config_last_reload_successful'), 1)
    await harness.stop(0)
  })
})

/** What is wrong, the file that says so, and what the diagnostic must say. `null` content: see the test. */
const BAD_EDITS: Readonly<Record<string, { readonly file: string; readonly text: string; readonly says: RegExp }>> = {
  'broken YAML': {
    file: 'policy.yaml',
    text: 'apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: x\nspec:\n',
    says: /policy\.yaml:\d+:\d+ error SP1010 /,
  },
  'half a file': {
    file: 'policy.yaml',
    text: 'apiVersion: security.istio.io/v1\nkind: Authoriza',
    says: /policy\.yaml:\d+:\d+ error SP10/,
  },
  'a misspelt key of a policy': {
    file: 'policy.yaml',
    text: documents(authorizationPolicy('x', 'DENY', [{ form: [{ source: { namespaces: ['a'] } }] }])),
    says: /policy\.yaml:\d+:\d+ error SP1030 .*form/,
  },
  'an empty file': { file: 'base.yaml', text: '', says: /base\.yaml:1:1 error SP1002 / },
  'a file of blanks': { file: 'policy.yaml', text: '\n  \n', says: /policy\.yaml:1:1 error SP1002 / },
  'a duplicate resource': {
    file: 'policy.yaml',
    text: documents(authorizationPolicy('same', 'DENY', []), authorizationPolicy('same', 'DENY', [])),
    says: /policy\.yaml:\d+:\d+ error SP1026 /,
  },
  'a duplicate key': {
    file: 'policy.yaml',
    text: DENY_ALL.replace('"action"', '"action": "ALLOW", "action"'),
    says: /policy\.yaml:\d+:\d+ error SP1011 /,
  },
  'a null where a restriction is meant': {
    file: 'policy.yaml',
    text: DENY_ALL.replace(/\[\s*\{\}\s*\]/, '[{"from": null}]'),
    says: /policy\.yaml:\d+:\d+ error SP1032 /,
  },
  'two authorizers': {
    file: 'policy.yaml',
    text: documents(customPolicy([{}], 'one', 'a'), customPolicy([{}], 'two', 'b')),
    says: /policy\.yaml:\d+:\d+ error SP8303 /,
  },
  'a bomb of aliases': {
    file: 'policy.yaml',
    text: `a: &a [x, x, x, x, x, x, x, x, x, x]\n${['b', 'c', 'd', 'e', 'f'].map((name, i) => `${name}: &${name} [${Array.from({ length: 10 }, () => `*${'abcde'[i]}`).join(', ')}]`).join('\n')}\n`,
    says: /policy\.yaml:\d+:\d+ error SP1012 /,
  },
  'a misspelt kind': {
    file: 'policy.yaml',
    text: DENY_ALL.replace('AuthorizationPolicy', 'AuthorisationPolicy'),
    says: /policy\.yaml:\d+:\d+ error SP1023 /,
  },
  'bytes that are not UTF-8': {
    file: 'policy.yaml',
    text: `# \u{fffd}\n${DENY_ALL}`,
    says: /policy\.yaml:1:1 error SP1004 /,
  },
  'a port of the machine that another listener has': {
    file: 'port.yaml',
    text: 'see below',
    says: /Gateway port \d+: cannot listen on 127\.0\.0\.1:\d+: /,
  },
  'a certificate that is not there': {
    file: 'port.yaml',
    text: documents({
      ...gateway({
        number: 443,
        tls: { mode: 'SIMPLE', serverCertificate: '/nowhere/tls.crt', privateKey: '/nowhere/tls.key' },
      }),
      metadata: { name: 'other', namespace: 'istio-system' },
    }),
    says: /\/nowhere\/tls\.crt: /,
  },
}

describe('a bad edit keeps the last good configuration:', () => {
  let harness: Harness
  before(async () => {
    harness = await startHarness({ resources: { 'base.yaml': base() } })
  })
  after(() => harness.stop())

  for (const [what, { file, text, says }] of Object.entries(BAD_EDITS)) {
    it(what, async () => {
      const generation = await sample(harness, 'sallyport_config_generation')
      const { version } = harness.gateway.active.model
      const socket = await plainConnect(harness.gateway.port(80))
      assert.equal((await request(socket, HOST)).status, 200)
      const before = harness.log().length
      const port = harness.gateway.control?.admin.port ?? 0
      const content =
        text === 'see below'
          ? documents({ ...gateway({ number: port }), metadata: { name: 'other', namespace: 'istio-system' } })
          : text
      const path = join(harness.paths.dir, 'resources', file)
      writeFileSync(path, what.startsWith('bytes') ? Buffer.from([0xff, 0xfe, 0x0a]) : content)
      const result = await harness.gateway.reload()
      assert.equal(result.ok, false)
      assert.match(result.errors.join('\n'), says)
      assert.equal(await sample(harness, 'sallyport_config_last_reload_successful'), 0)
      assert.equal(await sample(harness, 'sallyport_config_generation'), generation)
      assert.equal(harness.gateway.active.model.version, version)
      assert.equal((await askControl(harness, 'health', '/healthz/ready')).status, 200)
      assert.equal((await request(socket, HOST)).status, 200)
      socket.destroy()
      const logged = await eventually('the rejection is logged', () => {
        const lines = harness.log().slice(before)
        return lines.some((line) => String(line['message']).startsWith('configuration rejected')) ? lines : null
      })
      assert.ok(
        logged.some((line) => line['level'] === 'error' && says.test(String(line['message']))),
        JSON.stringify(logged),
      )
      assert.ok((await harness.change({ 'base.yaml': base(), 'policy.yaml': null, 'port.yaml': null })).ok)
      assert.equal(await sample(harness, 'sallyport_config_last_reload_successful'), 1)
    })
  }

  it('a resource directory that is gone, a link to nowhere', async () => {
    const resources = join(harness.paths.dir, 'resources')
    renameSync(resources, `${resources}.away`)
    assert.match(
      (await harness.gateway.reload()).errors.join('\n'),
      /gateway\.yaml:\d+:\d+ error SP1001 .*resources does not exist/,
    )
    renameSync(`${resources}.away`, resources)
    symlinkSync('nowhere', join(resources, 'link.yaml'))
    assert.match((await harness.gateway.reload()).errors.join('\n'), /link\.yaml:1:1 error SP1001 /)
    assert.equal(await sample(harness, 'sallyport_config_last_reload_successful'), 0)
    rmSync(join(resources, 'link.yaml'))
    assert.deepEqual(await harness.gateway.reload(), { ok: true, errors: [] })
  })

  it('the bootstrap file itself', async () => {
    const text = readFileSync(harness.configFile, 'utf8')
    writeFileSync(harness.configFile, text.replace('"meshConfig"', '"meshConfg"'))
    const { ok, errors } = await harness.gateway.reload()
    assert.equal(ok, false)
    assert.match(errors.join('\n'), /gateway\.yaml:\d+:\d+ error SP1030 .*meshConfg/)
    writeFileSync(harness.configFile, '')
    assert.match((await harness.gateway.reload()).errors.join('\n'), /gateway\.yaml:1:1 error SP1002/)
    assert.equal(await sample(harness, 'sallyport_config_last_reload_successful'), 0)
    writeFileSync(harness.configFile, text)
    assert.deepEqual(await harness.gateway.reload(), { ok: true, errors: [] })
    assert.equal(await sample(harness, 'sallyport_config_last_reload_successful'), 1)
  })
})
