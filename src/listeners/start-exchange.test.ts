import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { test } from 'node:test'
import { type Connection, NO_PEER } from '../core/attributes.ts'
import { newListenerStats } from '../core/stats.ts'
import type { ExchangeRecord } from '../observe/record.ts'
import { h2Over, h2Request } from '../testing/h2-client.ts'
import { plainConnect } from '../testing/mesh-client.ts'
import { testSettings } from '../testing/resources.ts'
import type { Environment, HttpConnection } from './environment.ts'
import { Exchanges } from './exchanges.ts'
import { serveHttp2 } from './http2.ts'
import { startExchange } from './start-exchange.ts'

const CONNECTION: Connection = {
  id: 1,
  openedAt: Date.now(),
  remoteAddress: '192.0.2.1',
  remotePort: 1,
  localAddress: '192.0.2.2',
  localPort: 2,
  gatewayPort: 80,
  peer: NO_PEER,
  tls: null,
}

/** A gateway that has a mistake in it: only what is asked of it before it shows. */
function broken(records: ExchangeRecord[], warnings: string[]): Environment {
  const environment: Pick<Environment, 'active' | 'warn' | 'finish' | 'draining' | 'cutting'> = {
    active: () => {
      throw new TypeError('a mistake')
    },
    warn: (message) => warnings.push(message),
    finish: (record) => records.push(record),
    draining: () => false,
    cutting: () => false,
  }
  return environment as Environment
}

test('a mistake of ours resets the request it happened to, and leaves one record; the connection goes on', async (t) => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const arrived = once(server, 'connection') as Promise<[Socket]>
  const session = h2Over(await plainConnect((server.address() as AddressInfo).port))
  const [socket] = await arrived
  t.after(() => {
    session.destroy()
    server.close()
  })
  const records: ExchangeRecord[] = []
  const warnings: string[] = []
  const http: HttpConnection = {
    connection: CONNECTION,
    stats: newListenerStats('0.0.0.0_80'),
    gatewayPort: 80,
    tls: null,
    trustKey: '',
    peerRules: null,
    reidentify: () => null,
    exchanges: new Exchanges(),
    poisoned: false,
    whenIdle: null,
    upgrades: new Set(),
  }
  const environment = broken(records, warnings)
  const served = serveHttp2(socket, testSettings().http, {
    request: (downstream) => startExchange(environment, http, downstream),
    failed: () => {},
  })
  for (const count of [1, 2]) {
    const answer = await h2Request(session, 'site.example')
    assert.deepEqual([answer.status, answer.rstCode], [0, 2])
    assert.deepEqual([records.length, http.exchanges.size, served.session.destroyed], [count, 0, false])
    const [record] = records
    assert.deepEqual([record?.flags, record?.responseCode, record?.responseCodeDetails], [['LR'], 0, 'internal_error'])
  }
  assert.deepEqual(warnings, ['a request was reset: a mistake', 'a request was reset: a mistake'])
  assert.equal(http.stats.downstream_rq_active, 0)
})
