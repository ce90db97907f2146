/** Files that change by themselves (contract §9): saved, replaced, swapped by Kubernetes; and what a reload may change. */
import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import { type Harness, startHarness } from '../../src/testing/harness.ts'
import { plainConnect, request } from '../../src/testing/mesh-client.ts'
import { type EchoOrigin, startEchoOrigin } from '../../src/testing/origin.ts'
import { authorizationPolicy, documents, gateway, serviceEntry, to, virtualService } from './manifests.ts'
import { sample } from './operator.ts'

const HOST = 'site.example'
const DENY_ALL = documents(authorizationPolicy('deny-all', 'DENY', [{}]))

let origin: EchoOrigin
const base = () => documents(gateway(), serviceEntry('site', HOST, origin.port), virtualService('site', [HOST], [{ route: to(HOST) }]))

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
  it('takes a saved, a replaced and a removed file', async () => {
    const harness = await startHarness({ resources: { 'base.yaml': base() }, watch: true })
    const file = join(harness.paths.dir, 'resources', 'policy.yaml')
    let requests = await untilStatus(harness, 200)
    writeFileSync(file, DENY_ALL)
    requests += await untilStatus(harness, 403)
    // As editors save: a new file in the old one's place.
    writeFileSync(`${file}~`, documents(authorizationPolicy('deny-none', 'DENY', [{ to: [{ operation: { methods: ['PUT'] } }] }])))
    renameSync(`${file}~`, file)
    requests += await untilStatus(harness, 200)
    writeFileSync(file, DENY_ALL)
    requests += await untilStatus(harness, 403)
    rmSync(file)
    requests += await untilStatus(harness, 200)
    await harness.stop(requests)
  })

  it('keeps what runs over a file that became empty, and takes it once it is whole', async () => {
    const harness = await startHarness({ resources: { 'base.yaml': base(), 'policy.yaml': DENY_ALL }, watch: true })
    const file = join(harness.paths.dir, 'resources', 'policy.yaml')
    writeFileSync(file, '')
    await eventually('the rejection', async () => (await sample(harness, 'sallyport_config_last_reload_successful')) === 0)
    assert.equal(await untilStatus(harness, 403), 1, 'the DENY stays')
    assert.equal(await sample(harness, 'sallyport_config_generation'), 1)
    writeFileSync(file, documents(authorizationPolicy('deny-all', 'DENY', [])))
    const requests = await untilStatus(harness, 200)
    assert.equal(await sample(harness, 'sallyport_config_last_reload_successful'), 1)
    await harness.stop(requests + 1)
  })

  it('follows a Kubernetes volume: files that are links through ..data, swapped as one', async () => {
    const harness = await startHarness({
      resources: { 'base.yaml': base() },
      watch: true,
      spec: { resources: ['./resources', './volume'] },
      prepare: (dir) => {
        const volume = join(dir, 'volume')
        mkdirSync(join(volume, '..2026_01'), { recursive: true })
        writeFileSync(join(volume, '..2026_01', 'policy.yaml'), documents(authorizationPolicy('p', 'DENY', [])))
        symlinkSync('..2026_01', join(volume, '..data'))
        symlinkSync('..data/policy.yaml', join(volume, 'policy.yaml'))
      },
    })
    const volume = join(harness.paths.dir, 'volume')
    let requests = await untilStatus(harness, 200)
    mkdirSync(join(volume, '..2026_02'))
    writeFileSync(join(volume, '..2026_02', 'policy.yaml'), DENY_ALL)
    symlinkSync('..2026_02', join(volume, '..data_tmp'))
    renameSync(join(volume, '..data_tmp'), join(volume, '..data'))
    rmSync(join(volume, '..2026_01'), { recursive: true })
    requests += await untilStatus(harness, 403)
    await harness.stop(requests)
  })

  it('takes every one of many quick edits in the end', async () => {
    const harness = await startHarness({ resources: { 'base.yaml': base() }, watch: true })
    const file = join(harness.paths.dir, 'resources', 'policy.yaml')
    let requests = 0
    for (let round = 0; round < 5; round += 1) {
      writeFileSync(file, DENY_ALL)
      // The reload runs now; what is saved meanwhile must not be lost.
      const reloading = harness.gateway.reload()
      writeFileSync(file, documents(authorizationPolicy('deny-all', 'DENY', [])))
      await reloading
      requests += await untilStatus(harness, 200)
    }
    await harness.stop(requests)
  })
})
