/** A reader of the access log that stops reading (threats 50): traffic goes on, lines are dropped and counted. */
import assert from 'node:assert/strict'
import { text } from 'node:stream/consumers'
import { it } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import { plainConnect, request } from '../../src/testing/mesh-client.ts'
import { run, workspace } from './child.ts'
import { documents, gateway, virtualService } from './manifests.ts'
import { ask, sampleOf } from './operator.ts'

const HOST = 'site.example'
const PATH_BYTES = 40_000
const CONNECTIONS = 4
/** More than the 8 MiB that the log may hold in memory, and the pipe besides. */
const REQUESTS = 320

it('a stalled stdout stops nothing; what was not written is counted; the rest is whole lines', async (t) => {
  const direct = virtualService('direct', [HOST], [{ directResponse: { status: 200 } }])
  const { bootstrap } = await workspace(t, { 'base.yaml': documents(gateway(), direct) })
  const sallyport = await run(t, bootstrap)
  const metric = async (name: string) =>
    sampleOf((await ask(sallyport.control('metrics'), '/stats/prometheus')).body, name)
  assert.equal(await metric('sallyport_access_log_dropped_total'), 0)
  const memory = (await metric('process_resident_memory_bytes')) ?? 0
  let sent = 0
  // Nobody reads the child's stdout: the pipe fills, then the gateway's own memory for it.
  await Promise.all(
    Array.from({ length: CONNECTIONS }, async () => {
      const socket = await plainConnect(sallyport.port)
      while (sent < REQUESTS) {
        sent += 1
        const answer = await request(socket, HOST, { path: `/${'x'.repeat(PATH_BYTES)}` })
        assert.equal(answer.status, 200)
      }
      socket.destroy()
    }),
  )
  const dropped = await eventually('lines are dropped', () => metric('sallyport_access_log_dropped_total'))
  const grown = ((await metric('process_resident_memory_bytes')) ?? 0) - memory
  assert.ok(grown < 150 * 1024 * 1024, `memory grew by ${grown} bytes`)
  assert.equal((await ask(sallyport.control('health'), '/healthz/ready')).status, 200)
  // The reader comes back: everything that was kept arrives, and draining ends the process as ever.
  const reading = text(sallyport.child.stdout)
  sallyport.child.kill('SIGTERM')
  assert.deepEqual(await sallyport.ended, { code: 0, signal: null })
  const lines = (await reading).split('\n')
  assert.equal(lines.pop(), '', 'the last line is whole')
  for (const line of lines) assert.equal((JSON.parse(line) as { path: string }).path.length, PATH_BYTES + 1)
  assert.equal(lines.length + dropped, REQUESTS)
})

it('a reader that never comes back does not keep the process from ending', async (t) => {
  const direct = virtualService('direct', [HOST], [{ directResponse: { status: 200 } }])
  const { bootstrap } = await workspace(t, { 'base.yaml': documents(gateway(), direct) })
  const sallyport = await run(t, bootstrap)
  const socket = await plainConnect(sallyport.port)
  for (let i = 0; i < 20; i += 1)
    assert.equal((await request(socket, HOST, { path: `/${'x'.repeat(PATH_BYTES)}` })).status, 200)
  socket.destroy()
  sallyport.child.kill('SIGTERM')
  assert.deepEqual(await sallyport.ended, { code: 0, signal: null })
})
