/** The audit stream: every refusal and every change of policy, written synchronously, never dropped. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import { StartError } from '../../src/app/start-error.ts'
import { DEFAULT_JSON } from '../../src/observe/access-log/defaults.ts'
import { AUDIT_EVENTS } from '../../src/observe/audit/lines.ts'
import { eventually } from '../../src/testing/eventually.ts'
import { type LogLine, startHarness } from '../../src/testing/harness.ts'
import { meshConnect, plainConnect, rawExchange, request } from '../../src/testing/mesh-client.ts'
import { startRawOrigin } from '../../src/testing/origin.ts'
import { run, workspace } from './child.ts'
import { authorizationPolicy, documents, gateway, ISTIO_MUTUAL, serviceEntry, to, virtualService } from './manifests.ts'
import { ask, askControl, sample, sampleOf } from './operator.ts'

const HOST = 'site.example'
const direct = virtualService('direct', [HOST], [{ directResponse: { status: 200 } }])
const DENY_SECRET = authorizationPolicy('no-secrets', 'DENY', [{ to: [{ operation: { paths: ['/secret'] } }] }])

async function audited(resources: Readonly<Record<string, string>>) {
  const harness = await startHarness({ resources, spec: { audit: { path: './audit.log' } } })
  const path = join(harness.paths.dir, 'audit.log')
  return { harness, path, lines: () => linesOf(readFileSync(path, 'utf8')) }
}

function linesOf(all: string): LogLine[] {
  return all
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as LogLine)
}

test('each refusal is there when its answer is, with the fields of the access log and where the rule stands', async () => {
  const base = documents(
    gateway({}, { number: 443, tls: ISTIO_MUTUAL }),
    direct,
    virtualService(
      'part',
      ['part.example'],
      [{ match: [{ uri: { exact: '/only' } }], directResponse: { status: 200 } }],
    ),
    DENY_SECRET,
  )
  const { harness, lines } = await audited({ 'base.yaml': base })
  const socket = await plainConnect(harness.gateway.port(80))
  assert.equal((await request(socket, HOST, { path: '/' })).status, 200)
  assert.equal((await request(socket, HOST, { path: '/secret' })).status, 403)
  assert.equal((await request(socket, 'part.example', { path: '/other' })).status, 404)
  assert.equal((await request(socket, 'unknown.example')).status, 502)
  const [, rbac] = await eventually('three refusals', () => (lines().length >= 4 ? lines() : null))
  socket.destroy()
  const accessLine = (await harness.lines(4)).find((line) => line['reason'] === 'rbac_denied')
  const { event, authz_policy_source: source, ...same } = rbac as LogLine
  assert.equal(event, 'refused')
  assert.match(String(source), /resources\/base\.yaml:\d+$/)
  assert.deepEqual(Object.keys(same), Object.keys(DEFAULT_JSON))
  assert.deepEqual(same, accessLine)
  const rule = Number(String(source).split(':').at(-1))
  assert.match(base.split('\n')[rule - 1] ?? '', /"to"|\{/)
  // Connections that were refused before a request: malformed bytes, no certificate, a stranger's.
  const malformed = await plainConnect(harness.gateway.port(80))
  assert.match(await rawExchange(malformed, 'GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n'), /^HTTP\/1\.1 400/)
  const anonymous = await meshConnect({ port: harness.gateway.port(443), svid: null, ca: harness.pki.root })
  anonymous.resume()
  const all = await eventually('five refusals', () => (lines().length >= 6 ? lines() : null))
  anonymous.destroy()
  assert.deepEqual(
    all.slice(1).map((line) => [line['event'], line['reason'], line['response_code']]),
    [
      ['refused', 'rbac_denied', 403],
      ['refused', 'no_route', 404],
      ['refused', 'not_registered', 502],
      ['refused', 'bad_request', 400],
      ['refused', 'no_client_certificate', 0],
    ],
  )
  await harness.stop(6)
})

test('start, changes of policy by name and place, refused reloads, and the end', async () => {
  const base = documents(gateway(), direct)
  const { harness, lines } = await audited({ 'base.yaml': base, 'p.yaml': documents(DENY_SECRET) })
  assert.equal((await harness.change({})).ok, true)
  assert.equal(lines().length, 1, 'a reload that changes nothing is none')
  const stricter = authorizationPolicy('no-secrets', 'DENY', [{ to: [{ operation: { paths: ['/secret', '/s'] } }] }])
  const added = authorizationPolicy('allow-some', 'ALLOW', [{}])
  assert.equal((await harness.change({ 'p.yaml': documents(stricter, added) })).ok, true)
  assert.equal((await harness.change({ 'p.yaml': 'kind: AuthorizationPolicy\napiVersion: nonsense\n' })).ok, false)
  assert.equal((await harness.change({ 'p.yaml': documents(added) })).ok, true)
  const audit = lines()
  await harness.stop()
  assert.deepEqual(
    audit.map((line) => [line['event'], line['generation']]),
    [
      ['started', 1],
      ['config_activated', 2],
      ['config_rejected', 2],
      ['config_activated', 3],
    ],
  )
  const shortened = (value: unknown) =>
    JSON.parse(JSON.stringify(value).replaceAll(/ at [^"]*\/([\w.]+):\d+"/g, ' at $1"')) as unknown
  assert.deepEqual(shortened(audit[0]?.['resources']), [
    'AuthorizationPolicy istio-system/no-secrets at p.yaml',
    'EgressGateway istio-system/istio-egressgateway at gateway.yaml',
    'Gateway istio-system/egress at base.yaml',
    'VirtualService istio-system/direct at base.yaml',
  ])
  assert.deepEqual(shortened(audit[1]?.['resources']), {
    added: ['AuthorizationPolicy istio-system/allow-some at p.yaml'],
    removed: [],
    changed: ['AuthorizationPolicy istio-system/no-secrets at p.yaml'],
  })
  assert.match(JSON.stringify(audit[2]?.['errors']), /p\.yaml:\d+:\d+ error SP/)
  assert.deepEqual(shortened(audit[3]?.['resources']), {
    added: [],
    removed: ['AuthorizationPolicy istio-system/no-secrets at p.yaml'],
    changed: [],
  })
  assert.notEqual(audit[1]?.['version'], audit[3]?.['version'])
})

test('a disk that fills up: the error is told, readiness fails, nothing is lost, and it heals by itself', async () => {
  const { harness, lines, path } = await audited({ 'base.yaml': documents(gateway(), direct, DENY_SECRET) })
  const ready = async () => (await askControl(harness, 'health', '/healthz/ready')).status
  assert.equal(await sample(harness, 'sallyport_audit_failed'), 0)
  assert.equal(await ready(), 200)
  renameSync(path, `${path}.1`)
  symlinkSync('/dev/full', path)
  const socket = await plainConnect(harness.gateway.port(80))
  let refused = 0
  // Rotation is noticed within a second.
  await eventually('the outage', async () => {
    assert.equal((await request(socket, HOST, { path: '/secret' })).status, 403)
    refused += 1
    return (await sample(harness, 'sallyport_audit_failed')) === 1
  })
  assert.equal(await ready(), 503)
  assert.equal((await request(socket, HOST, { path: '/' })).status, 200, 'what is allowed goes on')
  await eventually('the error in the operational log', () =>
    harness.log().some((line) => line['level'] === 'error' && String(line['message']).startsWith('audit: ENOSPC')),
  )
  rmSync(path)
  await eventually('the disk has room', async () => (await ready()) === 200)
  assert.equal(await sample(harness, 'sallyport_audit_failed'), 0)
  const before = linesOf(readFileSync(`${path}.1`, 'utf8')).filter((line) => line['event'] === 'refused')
  assert.equal(before.length + lines().filter((line) => line['event'] === 'refused').length, refused)
  socket.destroy()
  await harness.stop()
})

test('a stream that cannot be written at the start is a gateway that does not start', async () => {
  for (const [path, message] of [
    ['/proc/nowhere/audit.log', /spec\.audit\.path: cannot open the log/],
    ['/dev/full', /spec\.audit\.path: cannot write to "\/dev\/full": ENOSPC/],
    ['/dev/stderr', /must be \/dev\/stdout or a file/],
  ] as const) {
    const resources = { 'base.yaml': documents(gateway(), direct) }
    await assert.rejects(startHarness({ resources, spec: { audit: { path } } }), (error) => {
      assert.ok(error instanceof StartError)
      assert.match(error.problems.join('\n'), message)
      return true
    })
  }
})

test('on stdout, beside the access log: whole lines of both; a reader that stalls shuts the door, not the eyes', async (t) => {
  const { bootstrap } = await workspace(
    t,
    { 'base.yaml': documents(gateway(), direct, DENY_SECRET) },
    { audit: { path: '/dev/stdout' } },
  )
  const gatewayProcess = await run(t, bootstrap)
  const metric = async (name: string) =>
    sampleOf((await ask(gatewayProcess.control('metrics'), '/stats/prometheus')).body, name)
  const path = `/secret?${'x'.repeat(40_000)}`
  let refused = 0
  // Nobody reads: the pipe fills, then what may be kept.
  await eventually(
    'the door is shut',
    async () => {
      const socket = await plainConnect(gatewayProcess.port)
      const closed = once(socket, 'close').then(() => null)
      for (let i = 0; i < 20; i += 1) {
        const answer = await Promise.race([request(socket, HOST, { path }).catch(() => null), closed])
        if (answer === null) return refused > 100
        assert.equal(answer.status, 403)
        refused += 1
      }
      socket.destroy()
      return false
    },
    60_000,
  )
  // As much as may wait can be there before the second is over that a slow reader is given.
  await eventually('the outage is told', async () => (await metric('sallyport_audit_failed')) === 1)
  assert.equal((await ask(gatewayProcess.control('health'), '/healthz/ready')).status, 503)
  const reading = text(gatewayProcess.child.stdout)
  await eventually('the reader has caught up', async () => (await metric('sallyport_audit_failed')) === 0)
  assert.equal((await ask(gatewayProcess.control('health'), '/healthz/ready')).status, 200)
  const again = await plainConnect(gatewayProcess.port)
  assert.equal((await request(again, HOST, { path: '/secret' })).status, 403)
  again.destroy()
  gatewayProcess.child.kill('SIGTERM')
  assert.deepEqual(await gatewayProcess.ended, { code: 0, signal: null })
  const lines = linesOf(await reading)
  assert.equal(lines.filter((line) => line['event'] === 'refused').length, refused + 1)
  assert.equal(lines.at(-1)?.['event'] ?? lines.at(-2)?.['event'], 'stopped')
})

test('a bootstrap that takes the stream away needs a restart: it stays', async () => {
  const { harness, lines } = await audited({ 'base.yaml': documents(gateway(), direct, DENY_SECRET) })
  const bootstrap = JSON.parse(readFileSync(harness.configFile, 'utf8')) as { spec: Record<string, unknown> }
  const { audit: _, ...spec } = bootstrap.spec
  writeFileSync(harness.configFile, JSON.stringify({ ...bootstrap, spec }))
  assert.equal((await harness.gateway.reload()).ok, true)
  const socket = await plainConnect(harness.gateway.port(80))
  assert.equal((await request(socket, HOST, { path: '/secret' })).status, 403)
  await eventually('the refusal', () => lines().some((line) => line['event'] === 'refused'))
  socket.destroy()
  await harness.stop()
})

test('a tunnel that is refused, and one that a change of policy ends', async () => {
  await using database = await startRawOrigin({ onConnection: ({ socket }) => socket.write('hello') })
  const tcp = [
    { ...gateway({ number: 80, protocol: 'TCP' }), metadata: { name: 'tcp', namespace: 'istio-system' } },
    serviceEntry('database', 'db.example', database.port, { protocol: 'TCP' }),
    virtualService('database', ['db.example'], [], {
      gateways: ['tcp'],
      http: undefined,
      tcp: [{ match: [{ port: 80 }], route: to('db.example') }],
    }),
  ]
  const nobody = documents(authorizationPolicy('nobody', 'DENY', [{}]))
  const { harness, lines } = await audited({ 'base.yaml': documents(...tcp), 'p.yaml': nobody })
  const refused = await plainConnect(harness.gateway.port(80))
  assert.equal(await text(refused), '')
  assert.equal((await harness.change({ 'p.yaml': null })).ok, true)
  const open = await plainConnect(harness.gateway.port(80))
  await once(open, 'data')
  assert.equal((await harness.change({ 'p.yaml': nobody })).ok, true)
  const all = await eventually('the end of the tunnel', () => (lines().length >= 5 ? lines() : null))
  assert.deepEqual(
    all.map((line) => [line['event'], line['reason'], line['bytes_sent']]),
    [
      ['started', undefined, undefined],
      ['refused', 'rbac_denied', 0],
      ['config_activated', undefined, undefined],
      ...(all[3]?.['event'] === 'ended'
        ? [
            ['ended', 'policy_changed', 5],
            ['config_activated', undefined, undefined],
          ]
        : [
            ['config_activated', undefined, undefined],
            ['ended', 'policy_changed', 5],
          ]),
    ],
  )
  await harness.stop(2)
})

test('blocks: set, what they refuse, taken back', async () => {
  const { harness, lines } = await audited({ 'base.yaml': documents(gateway(), direct) })
  const { block } = await harness.gateway.shared.block({ from: '*', to: null, forMs: 60_000, reason: 'test' })
  const socket = await plainConnect(harness.gateway.port(80))
  assert.equal((await request(socket, HOST)).status, 403)
  socket.destroy()
  await harness.gateway.shared.unblock(block.id)
  const [, set, refused, removed] = await eventually('four lines', () => (lines().length >= 4 ? lines() : null))
  assert.deepEqual([set?.['event'], set?.['block']], ['block_set', block])
  assert.deepEqual([refused?.['event'], refused?.['reason']], ['refused', 'blocked'])
  assert.deepEqual([removed?.['event'], removed?.['block']], ['block_removed', block])
  await harness.stop(1)
})

test('docs/audit.md names every event', () => {
  const page = readFileSync(join(import.meta.dirname, '..', '..', 'docs', 'audit.md'), 'utf8')
  for (const event of Object.keys(AUDIT_EVENTS)) assert.ok(page.includes(`\`${event}\``), event)
})
