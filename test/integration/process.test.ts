/** `sallyport run` as a process: readiness, signals, exit codes (contract §1, §9). */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import { plainConnect, request } from '../../src/testing/mesh-client.ts'
import { type EchoOrigin, startEchoOrigin } from '../../src/testing/origin.ts'
import { run, workspace } from './child.ts'
import { authorizationPolicy, documents, gateway, serviceEntry, to, virtualService } from './manifests.ts'
import { ask, sampleOf } from './operator.ts'

const HOST = 'site.example'

let origin: EchoOrigin
before(async () => {
  origin = await startEchoOrigin()
})
after(() => origin.close())

const base = () =>
  documents(gateway(), serviceEntry('site', HOST, origin.port), virtualService('site', [HOST], [{ route: to(HOST) }]))

describe('sallyport run', () => {
  it('serves, drains on SIGTERM and exits 0; every request has its line on stdout', async (t) => {
    const { bootstrap } = await workspace(t, { 'base.yaml': base() }, { drainDuration: '60s' })
    const gateway = await run(t, bootstrap)
    let stdout = ''
    gateway.child.stdout.setEncoding('utf8').on('data', (part: string) => (stdout += part))
    assert.equal((await ask(gateway.control('health'), '/healthz/ready')).status, 200)
    const socket = await plainConnect(gateway.port)
    assert.equal((await request(socket, HOST)).status, 200)
    const seen = origin.requests.length
    const slow = request(socket, HOST, { path: '/delay/5' })
    await eventually('the request is outside', () => origin.requests.length > seen)
    gateway.child.kill('SIGTERM')
    await gateway.said('SIGTERM: draining')
    assert.equal((await ask(gateway.control('health'), '/healthz/ready')).status, 503)
    await assert.rejects(plainConnect(gateway.port), { code: 'ECONNREFUSED' })
    const answer = await slow
    assert.deepEqual([answer.status, answer.headers.connection], [200, 'close'])
    assert.deepEqual(await gateway.ended, { code: 0, signal: null })
    const paths = stdout
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { path: string }).path)
    assert.deepEqual(paths, ['/', '/delay/5'])
    assert.doesNotMatch(gateway.stderr(), /"level":"(error|critical)"/)
  })

  it('ends at once on the second signal, with work left, and still exits 0', async (t) => {
    const { bootstrap } = await workspace(t, { 'base.yaml': base() }, { drainDuration: '10m' })
    const gateway = await run(t, bootstrap)
    let stdout = ''
    gateway.child.stdout.setEncoding('utf8').on('data', (part: string) => (stdout += part))
    const socket = await plainConnect(gateway.port)
    const seen = origin.requests.length
    const cut = assert.rejects(request(socket, HOST, { path: '/delay/600' }))
    await eventually('the request is outside', () => origin.requests.length > seen)
    gateway.child.kill('SIGTERM')
    await gateway.said('SIGTERM: draining')
    gateway.child.kill('SIGINT')
    assert.deepEqual(await gateway.ended, { code: 0, signal: null })
    await cut
    await eventually('its line', () => stdout.endsWith('\n'))
    const line = JSON.parse(stdout) as Record<string, unknown>
    assert.deepEqual([line['path'], line['response_code'], line['reason']], ['/delay/600', 0, 'draining'])
  })

  it('reloads on SIGHUP: a good edit at once, a bad one never', async (t) => {
    const files = await workspace(t, { 'base.yaml': base() })
    const gateway = await run(t, files.bootstrap)
    gateway.child.stdout.resume()
    const scrape = async (name: string) =>
      sampleOf((await ask(gateway.control('metrics'), '/stats/prometheus')).body, name)
    const socket = await plainConnect(gateway.port)
    assert.equal((await request(socket, HOST)).status, 200)
    files.write('resources/deny.yaml', documents(authorizationPolicy('deny', 'DENY', [{}])))
    gateway.child.kill('SIGHUP')
    await eventually('403', async () => (await request(socket, HOST)).status === 403)
    const generation = await scrape('sallyport_config_generation')
    const bad = files.write('resources/deny.yaml', 'kind: [')
    gateway.child.kill('SIGHUP')
    await eventually('the rejection', async () => (await scrape('sallyport_config_last_reload_successful')) === 0)
    await gateway.said(new RegExp(`${bad}:1:\\d+ error SP1010 `))
    assert.equal((await request(socket, HOST)).status, 403)
    assert.equal(await scrape('sallyport_config_generation'), generation)
    assert.equal((await ask(gateway.control('health'), '/healthz/ready')).status, 200)
    gateway.child.kill('SIGINT')
    assert.deepEqual(await gateway.ended, { code: 0, signal: null })
  })

  it('ends by POST /quitquitquit as by SIGTERM', async (t) => {
    const { bootstrap } = await workspace(t, { 'base.yaml': base() })
    const gateway = await run(t, bootstrap)
    assert.equal((await ask(gateway.control('admin'), '/quitquitquit', 'POST')).status, 200)
    await gateway.said(/POST \/quitquitquit: draining/)
    assert.deepEqual(await gateway.ended, { code: 0, signal: null })
  })
})
