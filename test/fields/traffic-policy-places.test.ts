/**
 * The blocks of a traffic policy in their other places: of one port, and of a subset (behaviour §5.2). What each field of
 * a block does is tested where it stands in `spec.trafficPolicy`; here, that the block is read in this place, and only for it.
 */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import { OK, UNAVAILABLE } from '../../src/testing/failing-origin.ts'
import { plainConnect, rawExchange } from '../../src/testing/mesh-client.ts'
import { type RawOrigin, type RawOriginOptions, startRawOrigin } from '../../src/testing/origin.ts'
import { documents, gateway, type Manifest, serviceEntry, virtualService } from '../integration/manifests.ts'
import { stat } from '../integration/operator.ts'
import { started } from '../integration/started.ts'

const HOST = 'site.example'
const SUBSET = 'one'

type Place = {
  readonly spec: (block: object) => object
  /** Of the destination that the block is for, and of one that it is not for. */
  readonly subset: string | null
}

const PORT_LEVEL: Place = {
  spec: (block) => ({ trafficPolicy: { portLevelSettings: [{ port: { number: 80 }, ...block }] } }),
  subset: null,
}
const OTHER_PORT: Place = {
  spec: (block) => ({ trafficPolicy: { portLevelSettings: [{ port: { number: 81 }, ...block }] } }),
  subset: null,
}
const IN_SUBSET: Place = {
  spec: (block) => ({ subsets: [{ name: SUBSET, trafficPolicy: block }, { name: 'two' }] }),
  subset: SUBSET,
}
const OTHER_SUBSET: Place = { ...IN_SUBSET, subset: 'two' }

function rule(spec: object): Manifest {
  return {
    apiVersion: 'networking.istio.io/v1',
    kind: 'DestinationRule',
    metadata: { name: 'site', namespace: 'istio-system' },
    spec: { host: HOST, ...spec },
  }
}

async function origin(t: TestContext, options: RawOriginOptions): Promise<RawOrigin> {
  const started = await startRawOrigin(options)
  t.after(() => started.close())
  return started
}

/** A gateway with this block in this place, in front of these endpoints; no retries unless asked for. */
async function site(
  t: TestContext,
  place: Place,
  block: object,
  ports: readonly number[],
  retries: object = { attempts: 0 },
) {
  const endpoints = ports.map((port) => ({ address: '127.0.0.1', ports: { p: port } }))
  const destination = { host: HOST, port: { number: 80 }, ...(place.subset === null ? {} : { subset: place.subset }) }
  const harness = await started(t, {
    resources: {
      'all.yaml': documents(
        gateway(),
        serviceEntry('site', HOST, 80, { spec: { endpoints } }),
        virtualService('site', [HOST], [{ route: [{ destination }], retries }]),
        rule(place.spec(block)),
      ),
    },
  })
  const ask = async (path = '/') =>
    rawExchange(
      await plainConnect(harness.gateway.port(80)),
      `GET ${path} HTTP/1.1\r\nhost: ${HOST}\r\nconnection: close\r\n\r\n`,
    )
  return { harness, ask, cluster: `cluster.outbound|80|${place.subset ?? ''}|${HOST}` }
}

const answering = (text: string): RawOriginOptions => ({ onRequest: ({ socket }) => socket.write(text) })
const named = (name: string) => answering(`HTTP/1.1 200 OK\r\ncontent-length: ${name.length}\r\n\r\n${name}`)

/** Connections that three requests take. */
async function connections(t: TestContext, place: Place, block: object): Promise<number> {
  const outside = await origin(t, answering(OK))
  const { ask } = await site(t, place, block, [outside.port])
  for (let i = 0; i < 3; i++) assert.match(await ask(), /^HTTP\/1\.1 200 /)
  return outside.connections.length
}

/** How many endpoints ten requests from one address reach. */
async function spread(t: TestContext, place: Place, block: object): Promise<number> {
  const ports = await Promise.all(['a', 'b', 'c', 'd'].map(async (name) => (await origin(t, named(name))).port))
  const { ask } = await site(t, place, block, ports)
  const names = new Set<string>()
  for (let i = 0; i < 40; i++) names.add((await ask()).slice(-1))
  return names.size
}

/** Flags of the second request to an endpoint that fails. */
async function afterFailure(t: TestContext, place: Place, block: object): Promise<unknown> {
  const outside = await origin(t, answering(UNAVAILABLE))
  const { ask, harness } = await site(t, place, block, [outside.port])
  await ask()
  await ask()
  return (await harness.lines(2))[1]?.['response_flags']
}

/** What an endpoint hears first. */
async function firstBytes(t: TestContext, place: Place, block: object): Promise<string> {
  const outside = await origin(t, {
    onConnection: (connection) => {
      connection.on('bytes', () => {
        if (connection.text.includes('\r\n\r\n')) connection.socket.end(OK)
      })
    },
  })
  const { ask } = await site(t, place, block, [outside.port])
  assert.match(await ask(), /^HTTP\/1\.1 200 /)
  return outside.connections[0]?.text.slice(0, 5) ?? ''
}

/** Of four requests that fail at once, how many are tried again. */
async function retried(t: TestContext, place: Place, block: object): Promise<number> {
  const held: (() => void)[] = []
  const seen = new Set<string>()
  const outside = await origin(t, {
    onRequest: ({ socket }, head) => {
      const [line = ''] = head.split('\r\n')
      const answer = seen.has(line) ? OK : UNAVAILABLE
      seen.add(line)
      held.push(() => socket.write(answer))
    },
  })
  const retries = { attempts: 1, retryOn: '5xx', backoff: '1ms' }
  const { ask, harness, cluster } = await site(t, place, block, [outside.port], retries)
  const answers = [1, 2, 3, 4].map((i) => ask(`/${i}`))
  await eventually('all are asked', () => held.length === 4)
  for (const answer of held.splice(0)) answer()
  await eventually('all are decided', async () => {
    const refused = (await stat(harness, `${cluster}.upstream_rq_retry_overflow`)) ?? 0
    return held.length + refused === 4
  })
  const count = held.length
  for (const answer of held) answer()
  await Promise.all(answers)
  return count
}

const ONCE = { connectionPool: { http: { maxRequestsPerConnection: 1 } } }
const STICKY = { loadBalancer: { consistentHash: { useSourceIp: true } } }
const EJECTS = { outlierDetection: { consecutive5xxErrors: 1, maxEjectionPercent: 100 } }
const P = 'DestinationRule.trafficPolicy.portLevelSettings[]'
const S = 'DestinationRule.subsets[].trafficPolicy'

test(`field ${P}.connectionPool: of that port`, async (t) => {
  assert.deepEqual([await connections(t, PORT_LEVEL, ONCE), await connections(t, OTHER_PORT, ONCE)], [3, 1])
})

test(`field ${S}.connectionPool: of that subset`, async (t) => {
  assert.deepEqual([await connections(t, IN_SUBSET, ONCE), await connections(t, OTHER_SUBSET, ONCE)], [3, 1])
})

test(`field ${P}.loadBalancer: of that port`, async (t) => {
  assert.equal(await spread(t, PORT_LEVEL, STICKY), 1)
  assert.ok((await spread(t, OTHER_PORT, STICKY)) > 1)
})

test(`field ${S}.loadBalancer: of that subset`, async (t) => {
  assert.equal(await spread(t, IN_SUBSET, STICKY), 1)
  assert.ok((await spread(t, OTHER_SUBSET, STICKY)) > 1)
})

test(`field ${P}.outlierDetection: of that port`, async (t) => {
  assert.deepEqual([await afterFailure(t, PORT_LEVEL, EJECTS), await afterFailure(t, OTHER_PORT, EJECTS)], ['UH', '-'])
})

test(`field ${S}.outlierDetection: of that subset`, async (t) => {
  assert.deepEqual([await afterFailure(t, IN_SUBSET, EJECTS), await afterFailure(t, OTHER_SUBSET, EJECTS)], ['UH', '-'])
})

test(`field ${S}.proxyProtocol: of that subset`, async (t) => {
  const block = { proxyProtocol: { version: 'V1' } }
  assert.deepEqual(
    [await firstBytes(t, IN_SUBSET, block), await firstBytes(t, OTHER_SUBSET, block)],
    ['PROXY', 'GET /'],
  )
})

test(`field ${S}.retryBudget: of that subset`, async (t) => {
  const block = { retryBudget: { percent: 1, minRetryConcurrency: 1 } }
  assert.deepEqual([await retried(t, IN_SUBSET, block), await retried(t, OTHER_SUBSET, block)], [1, 4])
})
