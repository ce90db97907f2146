/** loadBalancer.consistentHash (behaviour §5.6), by where requests with the same key arrive. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type TestContext, test } from 'node:test'
import { hash32 } from '../../src/core/hash.ts'
import { buildTable, type HashingModel } from '../../src/forward/hash-table.ts'
import type { RequestOptions } from '../../src/testing/mesh-client.ts'
import type { RawOrigin } from '../../src/testing/origin.ts'
import { destinationRule, documents, gateway, serviceEntry } from '../integration/manifests.ts'
import { started } from '../integration/started.ts'
import { DB, l4Service, PORTS, RAW, startDatabase, tcpRule } from '../integration/tunnel-world.ts'
import { type BalancedSite, balancedSite, connectFrom, type Member, startMember } from './balanced-site.ts'

const hashing = (consistentHash: object) => ({ loadBalancer: { consistentHash } })
const USERS = Array.from({ length: 40 }, (_, i) => `user-${i}`)

async function fiveMembers(): Promise<{ readonly members: readonly Member[] } & AsyncDisposable> {
  const stack = new AsyncDisposableStack()
  const members: Member[] = []
  for (const nth of [2, 3, 4, 5, 6]) members.push(stack.use(await startMember(nth)))
  return { members, [Symbol.asyncDispose]: async () => stack.disposeAsync() }
}

/** Each key three times over: always the same endpoint, and not the same one for all. */
async function assertSticky(site: BalancedSite, keyed: (user: string) => RequestOptions): Promise<void> {
  const rounds = [0, 1, 2].map(async () => site.names(USERS.length, (i) => keyed(USERS[i] ?? '')))
  const [first = [], ...others] = await Promise.all(rounds)
  for (const other of others) assert.deepEqual(other, first)
  assert.ok(new Set(first).size >= 4, first.join())
}

/** Requests without the key, or with it elsewhere, go anywhere. */
async function assertScattered(site: BalancedSite, options: RequestOptions): Promise<void> {
  assert.ok(new Set(await site.names(60, () => options)).size >= 4)
}

test('field DestinationRule.trafficPolicy.loadBalancer.consistentHash.httpHeaderName: by the header', async (t) => {
  await using five = await fiveMembers()
  await using site = await balancedSite(t, five.members, hashing({ httpHeaderName: 'X-User' }))
  await assertSticky(site, (user) => ({ headers: { 'x-user': user } }))
  await assertScattered(site, { headers: { 'x-other': 'user-1' } })
})

test('field DestinationRule.trafficPolicy.loadBalancer.consistentHash.httpQueryParameterName: by the parameter', async (t) => {
  await using five = await fiveMembers()
  await using site = await balancedSite(t, five.members, hashing({ httpQueryParameterName: 'user' }))
  await assertSticky(site, (user) => ({ path: `/?x=1&user=${user}` }))
  await assertScattered(site, { path: '/?users=user-1' })
})

test('field DestinationRule.trafficPolicy.loadBalancer.consistentHash.useSourceIp: by the address of the caller', async (t) => {
  await using five = await fiveMembers()
  await using site = await balancedSite(t, five.members, hashing({ useSourceIp: true }))
  const bySource = async () => {
    const found: string[] = []
    for (let nth = 10; nth < 40; nth++) found.push((await site.ask({ from: `127.0.0.${nth}` })).body)
    return found
  }
  const first = await bySource()
  assert.deepEqual(await bySource(), first)
  assert.ok(new Set(first).size >= 4, first.join())
})

test('field DestinationRule.trafficPolicy.loadBalancer.consistentHash.useSourceIp: tunnels too', async (t) => {
  const names = ['a', 'b', 'c', 'd']
  await using stack = new AsyncDisposableStack()
  const databases: RawOrigin[] = []
  for (const name of names) databases.push(stack.use(await startDatabase(({ socket }) => socket.end(name))))
  const endpoints = databases.map(({ port }) => ({ address: '127.0.0.1', ports: { p: port } }))
  const harness = await started(t, {
    spec: { ports: PORTS },
    resources: {
      'all.yaml': documents(
        gateway({ number: RAW, protocol: 'TCP' }),
        serviceEntry('db', DB, 1, { port: RAW, protocol: 'TCP', spec: { endpoints } }),
        l4Service('db', DB, { tcp: [tcpRule(RAW, DB)] }),
        destinationRule('db', DB, hashing({ useSourceIp: true })),
      ),
    },
  })
  const reached = async (from: string) => {
    const socket = await connectFrom(harness.gateway.port(RAW), from)
    let text = ''
    socket.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
    await once(socket, 'end')
    socket.destroy()
    return text
  }
  const all = async () => {
    const found: string[] = []
    for (let nth = 10; nth < 30; nth++) found.push(await reached(`127.0.0.${nth}`))
    return found
  }
  const first = await all()
  assert.deepEqual(await all(), first)
  assert.deepEqual([...new Set(first)].toSorted(), names)
  await harness.stop(40)
})

test('field DestinationRule.trafficPolicy.loadBalancer.consistentHash.httpCookie.name: by the cookie; without ttl none is set', async (t) => {
  await using five = await fiveMembers()
  await using site = await balancedSite(t, five.members, hashing({ httpCookie: { name: 'user' } }))
  await assertSticky(site, (user) => ({ headers: { cookie: `a=b; user=${user}; c=d` } }))
  await assertScattered(site, { headers: { cookie: 'users=user-1' } })
  assert.equal((await site.ask()).headers['set-cookie'], undefined)
})

test('field DestinationRule.trafficPolicy.loadBalancer.consistentHash.httpCookie.ttl, DestinationRule.trafficPolicy.loadBalancer.consistentHash.httpCookie.path: callers without a cookie get one that leads back', async (t) => {
  await using five = await fiveMembers()
  await using site = await balancedSite(
    t,
    five.members,
    hashing({ httpCookie: { name: 'user', path: '/shop', ttl: '90s' } }),
  )
  for (let i = 0; i < 8; i++) {
    const first = await site.ask()
    const [cookie = ''] = first.headers['set-cookie'] ?? []
    assert.match(cookie, /^user="[0-9a-f]+"; Max-Age=90; Path=\/shop; HttpOnly$/)
    const [pair = ''] = cookie.split(';')
    for (let j = 0; j < 3; j++) {
      const next = await site.ask({ headers: { cookie: pair } })
      assert.equal(next.body, first.body)
      assert.equal(next.headers['set-cookie'], undefined)
    }
  }
  await site.reload(five.members, hashing({ httpCookie: { name: 'user', ttl: '0s' } }))
  const session = (await site.ask()).headers['set-cookie']?.[0] ?? ''
  assert.match(session, /^user="[0-9a-f]+"; HttpOnly$/)
})

/** Where the users' requests arrive is where a table of exactly this size sends them, which another size would not. */
async function assertTable(t: TestContext, consistentHash: object, model: HashingModel, other: HashingModel) {
  await using five = await fiveMembers()
  await using site = await balancedSite(t, five.members, hashing({ httpHeaderName: 'x-user', ...consistentHash }))
  const hosts = five.members.map(({ address, port }) => ({ text: `${address}:${port}`, weight: 1 }))
  const table = (of: HashingModel) => {
    const built = buildTable(of, hosts)
    return USERS.map((user) => five.members[built.owner(built.place(hash32(user)))]?.name)
  }
  const expected = table(model)
  assert.notDeepEqual(expected, table(other))
  assert.deepEqual(await site.names(USERS.length, (i) => ({ headers: { 'x-user': USERS[i] ?? '' } })), expected)
}

const key = { kind: 'header', name: 'x-user' } as const
const ring = (minimumRingSize: number): HashingModel => ({ kind: 'RING_HASH', minimumRingSize, key })
const maglev = (tableSize: number): HashingModel => ({ kind: 'MAGLEV', tableSize, key })

test('field DestinationRule.trafficPolicy.loadBalancer.consistentHash.ringHash.minimumRingSize, DestinationRule.trafficPolicy.loadBalancer.consistentHash.minimumRingSize: the ring has as many points', async (t) => {
  await assertTable(t, {}, ring(1024), ring(7))
  await assertTable(t, { ringHash: { minimumRingSize: 7 } }, ring(7), ring(1024))
  await assertTable(t, { minimumRingSize: 7 }, ring(7), ring(1024))
})

test('field DestinationRule.trafficPolicy.loadBalancer.consistentHash.maglev.tableSize: the table has as many places', async (t) => {
  await assertTable(t, { maglev: {} }, maglev(65_537), ring(1024))
  await assertTable(t, { maglev: { tableSize: 11 } }, maglev(11), maglev(65_537))
})
