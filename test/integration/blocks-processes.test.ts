/** The kill switch between real processes: a command, and two gateways that share nothing with it but a Redis. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { test } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import { plainConnect, request } from '../../src/testing/mesh-client.ts'
import { startEchoOrigin, startRawOrigin } from '../../src/testing/origin.ts'
import { RedisServer, skipWithoutRedis } from '../../src/testing/redis.ts'
import { run, sallyport, workspace } from './child.ts'
import { documents, gateway, serviceEntry, to, virtualService } from './manifests.ts'
import { l4Service } from './tunnel-world.ts'

const HOST = 'httpbin.org'
const DB = 'db.example'

test('sallyport block ends a tunnel in one process and refuses requests in another', {
  skip: skipWithoutRedis,
}, async (t) => {
  const redis = await RedisServer.start()
  const site = await startEchoOrigin()
  const raw = await startRawOrigin({ onConnection: ({ socket }) => void socket.write('hello') })
  t.after(() => Promise.all([redis.close(), site.close(), raw.close()]))
  const spec = { redis: { url: redis.url }, unauthenticatedPassthrough: 'allow' }
  const http = await workspace(
    t,
    {
      'all.yaml': documents(
        gateway({ number: 80, name: 'http' }),
        serviceEntry('site', HOST, site.port),
        virtualService('site', [HOST], [{ route: to(HOST) }]),
      ),
    },
    spec,
  )
  const tcp = await workspace(
    t,
    {
      'all.yaml': documents(
        gateway({ number: 80, name: 'tcp', protocol: 'TCP' }),
        serviceEntry('db', DB, raw.port, { port: 80, protocol: 'TCP' }),
        l4Service('db', DB, { tcp: [{ match: [{ port: 80 }], route: to(DB) }] }),
      ),
    },
    spec,
  )
  const [requests, tunnels] = await Promise.all([run(t, http.bootstrap), run(t, tcp.bootstrap)])
  const ask = async (): Promise<number> => {
    const socket = await plainConnect(requests.port)
    try {
      return (await request(socket, HOST)).status
    } finally {
      socket.destroy()
    }
  }
  assert.equal(await ask(), 200)
  const tunnel = connect({ host: '127.0.0.1', port: tunnels.port })
  tunnel.on('error', () => undefined)
  await once(tunnel, 'data')
  const closed = once(tunnel, 'close').then(() => performance.now())
  const done = await sallyport(['block', '-f', http.bootstrap, '--from', '*', '--for', '5m', '--reason', 'test'])
  const since = performance.now()
  assert.equal(done.code, 0, done.stderr)
  await eventually('refused', async () => (await ask()) === 403)
  const refused = performance.now() - since
  const cut = (await closed) - since
  t.diagnostic(`after the command's end: tunnel closed ${cut.toFixed(0)} ms, request refused ${refused.toFixed(0)} ms`)
  // The promise is a second; a machine that does other things as well gets five.
  assert.ok(cut < 5000 && refused < 5000, `${cut} ms, ${refused} ms`)
})
