import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type DnsQuestion, type DnsReply, startDnsServer } from '../testing/dns-server.ts'
import { eventually } from '../testing/eventually.ts'
import { createNameResolver, type NameResolver } from './resolve.ts'

const answer = (addresses: readonly string[], ttl: number): DnsReply => ({ kind: 'answer', addresses, ttl })

/** A resolver over a scripted server, with a clock that tests turn. */
async function start(
  reply: (question: DnsQuestion) => DnsReply,
  options: { minTtlMs?: number; staleForMs?: number } = {},
) {
  const server = await startDnsServer(reply)
  const clock = { now: 1_000_000 }
  const resolver = createNameResolver(
    { servers: [server.address], minTtlMs: 1_000, maxTtlMs: 60_000, staleForMs: 600_000, ...options },
    () => clock.now,
  )
  const counts = (type: string) => server.questions.filter((question) => question.type === type).length
  return { server, clock, resolver, counts, [Symbol.asyncDispose]: () => server.close() }
}

const settled = (resolver: NameResolver, name: string) => {
  const found = resolver.lookup(name)
  assert.ok(!(found instanceof Promise), `${name} should be in the cache`)
  return found
}

test('A and AAAA through an alias, asked as an absolute name, nothing else asked', async () => {
  await using dns = await start(() => ({
    kind: 'answer',
    addresses: ['2606:2800:220:1::1', '93.184.216.34'],
    ttl: 30,
    cname: 'alias.example',
  }))
  const found = await dns.resolver.lookup('short')
  assert.deepEqual(found.addresses, ['93.184.216.34', '2606:2800:220:1::1'])
  assert.deepEqual([found.failure, found.stale], [null, false])
  assert.deepEqual(
    dns.server.questions.map(({ name }) => name),
    ['short', 'short'],
  )
  assert.deepEqual(
    dns.server.questions.map(({ type }) => String(type)).toSorted((a, b) => a.localeCompare(b)),
    ['A', 'AAAA'],
  )
})

test('many at once ask once; a cached answer is the same object until its TTL is over', async () => {
  await using dns = await start(() => answer(['93.184.216.34'], 30))
  const found = await Promise.all(Array.from({ length: 50 }, async () => dns.resolver.lookup('site.example')))
  assert.equal(dns.counts('A'), 1)
  assert.equal(new Set(found).size, 1)
  dns.clock.now += 20_000
  assert.equal(settled(dns.resolver, 'site.example'), found[0])
  assert.equal(dns.counts('A'), 1)
  dns.clock.now += 10_000
  assert.ok(dns.resolver.lookup('site.example') instanceof Promise)
})

test('a name in use is refreshed before its TTL is over, without anybody waiting', async () => {
  let address = '93.184.216.34'
  await using dns = await start(() => answer([address], 30))
  await dns.resolver.lookup('site.example')
  address = '93.184.216.35'
  dns.clock.now += 29_000
  assert.deepEqual(settled(dns.resolver, 'site.example').addresses, ['93.184.216.34'])
  await eventually('the refresh', () => settled(dns.resolver, 'site.example').addresses[0] === '93.184.216.35')
})

test('TTLs are kept within minTtl and maxTtl', async () => {
  await using dns = await start(({ name }) => answer(['93.184.216.34'], name === 'zero.example' ? 0 : 0x7fffffff))
  const zero = await dns.resolver.lookup('zero.example')
  assert.equal(zero.expiresAt - dns.clock.now, 1_000)
  const huge = await dns.resolver.lookup('huge.example')
  assert.equal(huge.expiresAt - dns.clock.now, 60_000)
})

test('no such name is remembered briefly, and differs from a failing server', async () => {
  await using dns = await start(({ name }) => ({
    kind: 'rcode',
    code: name === 'gone.example' ? 'NXDOMAIN' : 'SERVFAIL',
  }))
  assert.equal((await dns.resolver.lookup('gone.example')).failure, 'ENOTFOUND')
  const asked = dns.server.questions.length
  assert.equal(settled(dns.resolver, 'gone.example').failure, 'ENOTFOUND')
  assert.equal(dns.server.questions.length, asked)
  dns.clock.now += 5_000
  assert.ok(dns.resolver.lookup('gone.example') instanceof Promise)
  assert.equal((await dns.resolver.lookup('broken.example')).failure, 'ESERVFAIL')
})

test('the last good answer is served, marked stale, for staleFor and no longer', async () => {
  let reply: DnsReply = answer(['93.184.216.34'], 30)
  await using dns = await start(() => reply, { staleForMs: 100_000 })
  await dns.resolver.lookup('site.example')
  for (const failing of [
    { kind: 'rcode', code: 'SERVFAIL' },
    { kind: 'rcode', code: 'NXDOMAIN' },
    { kind: 'answer', addresses: [], ttl: 30 },
  ] as const) {
    reply = failing
    dns.clock.now += 31_000
    const found = await dns.resolver.lookup('site.example')
    assert.deepEqual([found.addresses, found.stale], [['93.184.216.34'], true])
    assert.equal(settled(dns.resolver, 'site.example'), found)
  }
  dns.clock.now += 40_000
  const over = await dns.resolver.lookup('site.example')
  assert.deepEqual([over.addresses, over.failure], [[], 'ENODATA'])
  reply = answer(['93.184.216.40'], 30)
  dns.clock.now += 5_000
  assert.deepEqual((await dns.resolver.lookup('site.example')).addresses, ['93.184.216.40'])
})

test('a silent server does not hold up a request that a stale answer can serve', async () => {
  let reply: DnsReply = answer(['93.184.216.34'], 30)
  await using dns = await start(() => reply)
  await dns.resolver.lookup('site.example')
  reply = { kind: 'silence' }
  dns.clock.now += 31_000
  // Nobody who has nothing to fall back on is done before it.
  const other = dns.resolver.lookup('other.example')
  const found = await Promise.race([dns.resolver.lookup('site.example'), other])
  assert.deepEqual([found.addresses, found.stale], [['93.184.216.34'], true])
})

test('an unanswered AAAA does not hold up an answered A', async () => {
  await using dns = await start(({ type, name }) =>
    type === 'A' && name === 'site.example' ? answer(['93.184.216.34'], 30) : { kind: 'silence' },
  )
  // One that has no answer at all waits for the resolver's own time-out.
  const other = dns.resolver.lookup('other.example')
  const found = await Promise.race([dns.resolver.lookup('site.example'), other])
  assert.deepEqual([found.name, found.addresses], ['site.example', ['93.184.216.34']])
})

test('a truncated answer is fetched over TCP, and a flood of addresses is cut', async () => {
  const addresses = Array.from({ length: 400 }, (_, i) => `93.184.${i >> 8}.${i & 255}`)
  await using dns = await start(() => ({ kind: 'truncated', addresses, ttl: 30 }))
  const found = await dns.resolver.lookup('many.example')
  assert.equal(found.addresses.length, 256)
  assert.ok(dns.server.questions.some(({ transport }) => transport === 'tcp'))
})

test('what is no host name is not asked for', async () => {
  await using dns = await start(() => answer(['93.184.216.34'], 30))
  for (const name of ['127.1', '2130706433', '0x7f.1', 'a b', 'b\u00fccher.example', '', 'x'.repeat(254), '10.0.0.1']) {
    assert.equal((await dns.resolver.lookup(name)).failure, 'EBADNAME', name)
  }
  assert.deepEqual(dns.server.questions, [])
})
