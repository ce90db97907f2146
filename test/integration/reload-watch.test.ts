/** Files that change by themselves (contract §9): saved, replaced, swapped by Kubernetes; and what a reload may change. */
import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import type { Harness } from '../../src/testing/harness.ts'
import { plainConnect, request } from '../../src/testing/mesh-client.ts'
import { type EchoOrigin, startEchoOrigin } from '../../src/testing/origin.ts'
import { authorizationPolicy, documents, gateway, serviceEntry, to, virtualService } from './manifests.ts'
import { freePort, sample } from './operator.ts'
import { started } from './started.ts'

const HOST = 'site.example'
/** Rules that concern none of these tests' requests. */
const PUT = [{ to: [{ operation: { methods: ['PUT'] } }] }]
const DENY_ALL = documents(authorizationPolicy('deny-all', 'DENY', [{}]))

let origin: EchoOrigin
const base = () =>
  documents(gateway(), serviceEntry('site', HOST, origin.port), virtualService('site', [HOST], [{ route: to(HOST) }]))

before(async () => {
  origin = await startEchoOrigin()
})
after(() => origin.close())

/** Requests until one has this status: the gateway notices files on its own. Answers how many it took. */
async function untilStatus(harness: Harness, wanted: number): Promise<number> {
  const socket = await plainConnect(harness.gateway.port(80))
  let requests = 0
  await eventually(`status ${wanted}`, async () => {
    requests += 1
    return (await request(socket, HOST)).status === wanted
  })
  socket.destroy()
  return requests
}

describe('watch', () => {
  it('takes a saved, a replaced and a removed file', async (t) => {
    const harness = await started(t, { resources: { 'base.yaml': base() }, watch: true })
    const file = join(harness.paths.dir, 'resources', 'policy.yaml')
    let requests = await untilStatus(harness, 200)
    writeFileSync(file, DENY_ALL)
    requests += await untilStatus(harness, 403)
    // As editors save: a new file in the old one's place.
    writeFileSync(`${file}~`, documents(authorizationPolicy('deny-put', 'DENY', PUT)))
    renameSync(`${file}~`, file)
    requests += await untilStatus(harness, 200)
    writeFileSync(file, DENY_ALL)
    requests += await untilStatus(harness, 403)
    rmSync(file)
    requests += await untilStatus(harness, 200)
    await harness.stop(requests)
  })

  it('keeps what runs over a file that became empty, and takes it once it is whole', async (t) => {
    const harness = await started(t, { resources: { 'base.yaml': base(), 'policy.yaml': DENY_ALL }, watch: true })
    const file = join(harness.paths.dir, 'resources', 'policy.yaml')
    writeFileSync(file, '')
    await eventually(
      'the rejection',
      async () => (await sample(harness, 'sallyport_config_last_reload_successful')) === 0,
    )
    assert.equal(await untilStatus(harness, 403), 1, 'the DENY stays')
    assert.equal(await sample(harness, 'sallyport_config_generation'), 1)
    writeFileSync(file, documents(authorizationPolicy('deny-all', 'DENY', PUT)))
    const requests = await untilStatus(harness, 200)
    assert.equal(await sample(harness, 'sallyport_config_last_reload_successful'), 1)
    await harness.stop(requests + 1)
  })

  it('follows a Kubernetes volume: files that are links through ..data, swapped as one', async (t) => {
    const harness = await started(t, { resources: { 'base.yaml': base() }, watch: true })
    const volume = join(harness.paths.dir, 'resources', 'volume')
    const fill = (version: string, policy: string) => {
      mkdirSync(join(volume, version), { recursive: true })
      writeFileSync(join(volume, version, 'policy.yaml'), policy)
    }
    fill('..2026_01', DENY_ALL)
    symlinkSync('..2026_01', join(volume, '..data'))
    symlinkSync('..data/policy.yaml', join(volume, 'policy.yaml'))
    let requests = await untilStatus(harness, 403)
    fill('..2026_02', documents(authorizationPolicy('deny-all', 'DENY', PUT)))
    symlinkSync('..2026_02', join(volume, '..data_tmp'))
    renameSync(join(volume, '..data_tmp'), join(volume, '..data'))
    rmSync(join(volume, '..2026_01'), { recursive: true })
    requests += await untilStatus(harness, 200)
    assert.equal(await sample(harness, 'sallyport_config_last_reload_successful'), 1)
    await harness.stop(requests)
  })

  it('takes every one of many quick edits in the end', async (t) => {
    const harness = await started(t, { resources: { 'base.yaml': base() }, watch: true })
    const file = join(harness.paths.dir, 'resources', 'policy.yaml')
    let requests = 0
    for (let round = 0; round < 5; round += 1) {
      writeFileSync(file, DENY_ALL)
      // The reload runs now; what is saved meanwhile must not be lost.
      const reloading = harness.gateway.reload()
      writeFileSync(file, documents(authorizationPolicy('deny-all', 'DENY', PUT)))
      await reloading
      requests += await untilStatus(harness, 200)
    }
    await harness.stop(requests)
  })
})

describe('ports and fields of the bootstrap', () => {
  it('binds the port of a new Gateway, releases it with the Gateway; connections on it survive other edits', async (t) => {
    const harness = await started(t, { resources: { 'base.yaml': base() } })
    const free = await freePort()
    const extra = documents(
      { ...gateway({ number: free }), metadata: { name: 'extra', namespace: 'istio-system' } },
      virtualService('extra', [HOST], [{ route: to(HOST) }], { gateways: ['extra'] }),
    )
    await assert.rejects(plainConnect(free), { code: 'ECONNREFUSED' })
    assert.ok((await harness.change({ 'extra.yaml': extra })).ok)
    assert.equal(harness.gateway.port(free), free)
    const socket = await plainConnect(free)
    assert.equal((await request(socket, HOST)).status, 200)
    assert.ok((await harness.change({ 'deny.yaml': DENY_ALL })).ok)
    assert.equal((await request(socket, HOST)).status, 403)
    assert.ok((await harness.change({ 'deny.yaml': null, 'extra.yaml': null })).ok)
    await assert.rejects(plainConnect(free), { code: 'ECONNREFUSED' })
    // The Gateway that let this connection in is gone: it must not be served by what that said.
    const orphan = await request(socket, HOST)
    assert.deepEqual([orphan.status, orphan.headers['x-sallyport-reason']], [421, 'misdirected'])
    socket.destroy()
    await harness.stop(3)
  })

  it('warns of fields that need a restart and applies the others at once', async (t) => {
    const harness = await started(t, {
      resources: { 'base.yaml': base() },
      spec: { dns: { servers: ['127.0.0.1:1'] } },
    })
    const { port } = harness.gateway.control?.admin ?? { port: 0 }
    const bootstrap = JSON.parse(readFileSync(harness.configFile, 'utf8')) as { spec: Record<string, unknown> }
    const socket = await plainConnect(harness.gateway.port(80))
    assert.equal((await request(socket, 'unknown.example')).status, 502)
    const { ports, admin, meshConfig } = bootstrap.spec
    const next = {
      ...bootstrap.spec,
      ports: { ...(ports as object), 444: 0 },
      admin: { ...(admin as object), port: port + 1 },
      bindAddress: '127.0.0.2',
      meshConfig: {
        ...(meshConfig as object),
        outboundTrafficPolicy: { mode: 'ALLOW_ANY' },
        accessLogEncoding: 'TEXT',
      },
    }
    writeFileSync(harness.configFile, JSON.stringify({ ...bootstrap, spec: next }))
    await harness.lines(1)
    assert.deepEqual(await harness.gateway.reload(), { ok: true, errors: [] })
    for (const field of ['ports', 'admin', 'bindAddress']) {
      await eventually(`a warning of ${field}`, () =>
        harness
          .log()
          .some(
            ({ level, message }) =>
              level === 'warning' &&
              String(message).startsWith(`${field} has changed`) &&
              String(message).includes('restart'),
          ),
      )
    }
    assert.throws(() => harness.gateway.port(444), /not bound/)
    assert.equal(await sample(harness, 'sallyport_config_generation'), 2)
    // ALLOW_ANY: no longer "not registered", but a name that nobody resolves.
    assert.equal((await request(socket, 'name.invalid')).status, 503)
    await eventually('a line of text', () =>
      readFileSync(harness.paths.accessLog, 'utf8').includes('"GET / HTTP/1.1" 503 '),
    )
    socket.destroy()
    await harness.gateway.close()
  })
})
