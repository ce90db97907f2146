/** Resolvers that lie, stall, truncate or flap (threat 44): through the whole gateway, with real requests waiting. */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { type DnsQuestion, type DnsReply, type DnsServer, startDnsServer } from '../../src/testing/dns-server.ts'
import { eventually } from '../../src/testing/eventually.ts'
import type { Harness } from '../../src/testing/harness.ts'
import { plainConnect, request } from '../../src/testing/mesh-client.ts'
import { type EchoOrigin, startEchoOrigin } from '../../src/testing/origin.ts'
import { documents, gateway, serviceEntry, to, virtualService } from '../integration/manifests.ts'
import { sample } from '../integration/operator.ts'
import { started } from '../integration/started.ts'

const HERE = '127.0.0.1'

type World = { readonly harness: Harness; readonly dns: DnsServer; readonly origin: EchoOrigin }

/** `*.example`, looked up here; only the origin's address may be dialled. */
async function start(
  t: TestContext,
  answer: (question: DnsQuestion) => DnsReply,
  times: Readonly<Record<string, string>> = {},
): Promise<World> {
  const [origin, dns] = [await startEchoOrigin(), await startDnsServer(answer)]
  t.after(() => Promise.all([origin.close(), dns.close()]))
  const harness = await started(t, {
    spec: { dns: { servers: [dns.address], ...times }, addressGuard: { allow: [HERE] } },
    resources: {
      'all.yaml': documents(
        gateway(),
        serviceEntry('any', '*.example', origin.port, { resolution: 'DYNAMIC_DNS' }),
        virtualService('any', ['*.example'], [{ route: to('*.example') }]),
      ),
    },
  })
  return { harness, dns, origin }
}

const here = (ttl: number): DnsReply => ({ kind: 'answer', addresses: [HERE], ttl })

async function status(harness: Harness, host: string): Promise<number> {
  const socket = await plainConnect(harness.gateway.port(80))
  const answer = await request(socket, host)
  socket.destroy()
  return answer.status
}

test('threat 44: names that do not exist, servers that fail or refuse: 503 DF, remembered, asked for once', async (t) => {
  const codes = { 'none.example': 'NXDOMAIN', 'broken.example': 'SERVFAIL', 'closed.example': 'REFUSED' } as const
  const { harness, dns, origin } = await start(t, ({ name }) => ({
    kind: 'rcode',
    code: codes[name as keyof typeof codes],
  }))
  for (const host of Object.keys(codes)) {
    const answers = await Promise.all(Array.from({ length: 20 }, () => status(harness, host)))
    assert.deepEqual(new Set(answers), new Set([503]), host)
    const asked = dns.questions.filter(({ name }) => name === host).length
    // Of a server that fails the resolver asks a second time, of one that says no it does not.
    assert.ok(asked <= (host === 'none.example' ? 2 : 4), `${host}: ${asked} questions`)
  }
  for (const line of await harness.lines(60))
    assert.deepEqual(
      ['response_flags', 'response_code_details', 'upstream_host', 'reason'].map((key) => line[key]),
      ['DF', 'dns_resolution_failure', null, null],
    )
  assert.equal(origin.accepted(), 0)
  await harness.stop(60)
})

test('threat 44: a server that says nothing: other names are served meanwhile, and then it is 503', async (t) => {
  const { harness } = await start(t, ({ name }) => (name === 'silent.example' ? { kind: 'silence' } : here(60)))
  const began = performance.now()
  let waiting = true
  const silent = status(harness, 'silent.example').finally(() => (waiting = false))
  for (let i = 0; i < 20; i++) assert.equal(await status(harness, `n${i}.example`), 200)
  assert.ok(waiting, 'nobody waited for the silent one')
  assert.equal(await silent, 503)
  assert.ok(performance.now() - began < 20_000, 'a query ends')
  const line = (await harness.lines(21)).at(-1)
  assert.deepEqual([line?.['authority'], line?.['response_flags']], ['silent.example', 'DF'])
  await harness.stop(21)
})

test('threat 44: fifty requests for one name ask once', async (t) => {
  const { harness, dns, origin } = await start(t, () => here(60))
  const answers = await Promise.all(Array.from({ length: 50 }, () => status(harness, 'herd.example')))
  assert.deepEqual(new Set(answers), new Set([200]))
  assert.deepEqual(dns.questions.map(({ type }) => String(type)).toSorted(), ['A', 'AAAA'])
  assert.equal(origin.requests.length, 50)
  await harness.stop(50)
})

test('threat 44: a truncated answer is fetched over TCP; of a thousand addresses 256 are looked at', async (t) => {
  const addresses = [HERE, ...Array.from({ length: 999 }, (_, i) => `10.${i >> 8}.${i & 255}.1`)]
  const { harness, dns } = await start(t, () => ({ kind: 'truncated', addresses, ttl: 60 }))
  for (let i = 0; i < 10; i++) assert.equal(await status(harness, 'many.example'), 200)
  assert.ok(dns.questions.some(({ transport }) => transport === 'tcp'))
  const denied = await sample(harness, 'sallyport_address_denied_total{cluster_name="outbound|80||*.example"}')
  assert.equal(denied, 255)
  for (const line of await harness.lines(10)) assert.match(String(line['upstream_host']), /^127\.0\.0\.1:/)
  await harness.stop(10)
})

for (const ttl of [0, 1, 0x7fffffff, 0x80000000, 0xffffffff]) {
  test(`threat 44: a TTL of ${ttl} s is kept within minTtl and maxTtl`, async (t) => {
    // Nothing is forgotten before minTtl …
    const long = await start(t, () => here(ttl), { minTtl: '60s', maxTtl: '120s' })
    for (let i = 0; i < 10; i++) assert.equal(await status(long.harness, 'ttl.example'), 200)
    assert.equal(long.dns.questions.filter(({ type }) => type === 'A').length, 1)
    await long.harness.stop(10)
    // … and nothing kept beyond maxTtl.
    const short = await start(t, () => here(ttl), { minTtl: '0s', maxTtl: '50ms' })
    const asked = () => short.dns.questions.filter(({ type }) => type === 'A').length
    let requests = 0
    for (const until = performance.now() + 30_000; asked() < 3 && performance.now() < until; requests++)
      assert.equal(await status(short.harness, 'ttl.example'), 200)
    assert.ok(asked() >= 3, `${asked()} questions`)
    await short.harness.stop(requests)
  })
}

test('threat 44: a resolver that flaps: the last good answer serves for staleFor and no longer, then DNS is believed again', async (t) => {
  let reply: DnsReply = here(0)
  /** How many good answers it gave, and when the last one. */
  let good = 0
  let goodAt = 0
  const answer = (): DnsReply => {
    if (reply.kind === 'rcode') return reply
    good += 1
    goodAt = performance.now()
    return reply
  }
  const { harness, dns } = await start(t, answer, { minTtl: '20ms', maxTtl: '20ms', staleFor: '6s' })
  let requests = 0
  const next = () => {
    requests += 1
    return status(harness, 'flap.example')
  }
  assert.equal(await next(), 200)
  for (const code of ['NXDOMAIN', 'SERVFAIL', 'REFUSED', 'NXDOMAIN'] as const) {
    reply = { kind: 'rcode', code }
    const before = dns.questions.length
    await eventually(`${code} was the answer`, async () => {
      assert.equal(await next(), 200, code)
      return dns.questions.length > before
    })
    assert.equal(await next(), 200, code)
    reply = here(0)
    const after = good
    await eventually('DNS was asked again', async () => {
      assert.equal(await next(), 200)
      return good > after
    })
  }
  reply = { kind: 'rcode', code: 'NXDOMAIN' }
  await eventually('the stale answer ends', async () => (await next()) === 503)
  assert.ok(performance.now() - goodAt >= 5_950, 'not before staleFor')
  reply = here(0)
  await eventually('DNS is believed again', async () => (await next()) === 200)
  assert.ok(((await sample(harness, 'sallyport_dns_stale_answers_total')) ?? 0) > 0)
  await harness.stop(requests)
})
