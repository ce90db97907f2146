/** Where names lead (contract §2 addressGuard, threats 37–41): a name that is allowed must not become a way inside. */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { type DnsReply, type DnsServer, startDnsServer } from '../../src/testing/dns-server.ts'
import type { Harness, LogLine } from '../../src/testing/harness.ts'
import { type Answer, plainConnect, type RequestOptions, request } from '../../src/testing/mesh-client.ts'
import { type EchoOrigin, startEchoOrigin } from '../../src/testing/origin.ts'
import { documents, gateway, serviceEntry, to, virtualService } from './manifests.ts'
import { askControl, sample, stat } from './operator.ts'
import { started } from './started.ts'

/** Name → class that the refusal must show, and the address behind it. TABLE. */
const FORBIDDEN: Readonly<Record<string, readonly [denial: string, ...addresses: string[]]>> = {
  'loopback.example': ['loopback', '127.0.0.1'],
  'loopback6.example': ['loopback', '::1'],
  'unspecified.example': ['unspecified', '0.0.0.0'],
  'unspecified6.example': ['unspecified', '::'],
  'private.example': ['private', '10.1.2.3'],
  'private172.example': ['private', '172.31.255.254'],
  'private192.example': ['private', '192.168.0.1'],
  'unique-local.example': ['unique_local', 'fd00::1'],
  'link-local.example': ['link_local', '169.254.1.1'],
  'link-local6.example': ['link_local', 'fe80::1'],
  'metadata.example': ['metadata', '169.254.169.254'],
  'metadata6.example': ['metadata', 'fd00:ec2::254'],
  'alibaba.example': ['metadata', '100.100.100.200'],
  'cgnat.example': ['cgnat', '100.64.0.1'],
  'multicast.example': ['multicast', '224.0.0.1'],
  'multicast6.example': ['multicast', 'ff02::1'],
  'reserved.example': ['reserved', '240.0.0.1'],
  'broadcast.example': ['reserved', '255.255.255.255'],
  'ietf.example': ['reserved', '192.0.0.1'],
  'benchmark.example': ['benchmark', '198.18.0.1'],
  'documentation.example': ['documentation', '192.0.2.1'],
  'discard6.example': ['reserved', '100::1'],
  'mapped.example': ['private', '::ffff:a00:1'],
  'nat64.example': ['loopback', '64:ff9b::7f00:1'],
  '6to4.example': ['loopback', '2002:7f00:1::'],
  'teredo.example': ['loopback', '2001:0:4136:e378:8000:63bf:80ff:fffe'],
}

let origin: EchoOrigin
let dns: DnsServer
const answers = new Map<string, readonly string[]>()
before(async () => {
  origin = await startEchoOrigin()
  for (const [name, [, ...addresses]] of Object.entries(FORBIDDEN)) answers.set(name, addresses)
  answers.set('mixed.example', ['10.0.0.1', '127.0.0.1', '169.254.169.254'])
  answers.set('allowed.example', ['127.0.0.1'])
  dns = await startDnsServer(({ name, type }): DnsReply => {
    const addresses = answers.get(name)
    if (addresses === undefined) return { kind: 'rcode', code: 'NXDOMAIN' }
    // Only the family that was asked for; an empty answer for the other.
    return {
      kind: 'answer',
      addresses: addresses.filter((address) => (type === 'AAAA') === address.includes(':')),
      ttl: 60,
    }
  })
})
after(async () => {
  await dns.close()
  await origin.close()
})

/** Registered by name, resolved here; whatever is dialled is dialled on the origin's port. */
const byName = (names: readonly string[], resolution = 'DNS') => {
  const slug = (name: string) => name.replace('*', 'star').replaceAll('.', '-')
  return documents(
    gateway(),
    ...names.flatMap((name) => [
      serviceEntry(slug(name), name, origin.port, { resolution }),
      virtualService(slug(name), [name], [{ route: to(name) }]),
    ]),
  )
}

const spec = (allow: readonly string[] = [], meshConfig: object = {}) => ({
  dns: { servers: [dns.address] },
  addressGuard: { allow },
  meshConfig,
})

class Caller {
  readonly #harness: Harness
  sent = 0
  constructor(harness: Harness) {
    this.#harness = harness
  }
  async call(host: string, options: RequestOptions = {}): Promise<{ readonly answer: Answer; readonly line: LogLine }> {
    const socket = await plainConnect(this.#harness.gateway.port(80))
    this.sent += 1
    const answer = await request(socket, host, options)
    socket.destroy()
    return { answer, line: (await this.#harness.lines(this.sent))[this.sent - 1] ?? {} }
  }
}

function assertDenied({ answer, line }: { readonly answer: Answer; readonly line: LogLine }, denial: string): void {
  assert.deepEqual([answer.status, answer.headers['x-sallyport-reason']], [403, 'address_denied'])
  assert.deepEqual(
    [line['response_code'], line['response_code_details'], line['reason'], line['upstream_host']],
    [403, `address_denied{${denial}}`, 'address_denied', null],
  )
}

describe('a registered name that resolves to a forbidden address', () => {
  it('threat 37: is 403 with the class, and nothing is dialled', async (t) => {
    const harness = await started(t, { spec: spec(), resources: { 'all.yaml': byName(Object.keys(FORBIDDEN)) } })
    const accepted = origin.accepted()
    const caller = new Caller(harness)
    for (const [name, [denial]] of Object.entries(FORBIDDEN)) {
      await t.test(`${name}: ${denial}`, async () => {
        assertDenied(await caller.call(name), denial)
        assert.equal(await stat(harness, `cluster.outbound|80||${name}.upstream_cx_total`), 0)
        assert.equal(await sample(harness, `sallyport_address_denied_total{cluster_name="outbound|80||${name}"}`), 1)
      })
    }
    assert.equal(origin.accepted(), accepted)
    const { body } = await askControl(harness, 'admin', '/clusters')
    assert.ok(body.includes('outbound|80||metadata.example::169.254.169.254:'), body)
    assert.ok(body.includes('/address_denied{metadata}'))
    await harness.stop(caller.sent)
  })

  it('is served when addressGuard.allow says so, and only there', async (t) => {
    const harness = await started(t, {
      spec: spec(['127.0.0.0/8']),
      resources: { 'all.yaml': byName(['allowed.example', 'private.example', 'mapped.example']) },
    })
    const caller = new Caller(harness)
    const { answer, line } = await caller.call('allowed.example')
    assert.deepEqual([answer.status, line['upstream_host']], [200, `127.0.0.1:${origin.port}`])
    assertDenied(await caller.call('private.example'), 'private')
    assertDenied(await caller.call('mapped.example'), 'private')
    await harness.stop(3)
  })

  it('threat 39: of a mixed answer only what is allowed is dialled', async (t) => {
    const harness = await started(t, {
      spec: spec(['127.0.0.1']),
      resources: { 'all.yaml': byName(['mixed.example']) },
    })
    const caller = new Caller(harness)
    for (let i = 0; i < 20; i += 1) {
      const { answer, line } = await caller.call('mixed.example')
      assert.deepEqual([answer.status, line['upstream_host']], [200, `127.0.0.1:${origin.port}`])
    }
    assert.equal(await sample(harness, 'sallyport_address_denied_total{cluster_name="outbound|80||mixed.example"}'), 2)
    await harness.stop(20)
  })

  it('threat 38: that changes its answer is judged anew (rebinding)', async (t) => {
    answers.set('rebound.example', ['127.0.0.1'])
    const harness = await started(t, {
      spec: { ...spec(['127.0.0.1']), dns: { servers: [dns.address], minTtl: '50ms', maxTtl: '50ms', staleFor: '0s' } },
      resources: { 'all.yaml': byName(['rebound.example']) },
    })
    const socket = await plainConnect(harness.gateway.port(80))
    assert.equal((await request(socket, 'rebound.example')).status, 200)
    answers.set('rebound.example', ['10.0.0.1'])
    let [requests, status] = [1, 200]
    const until = performance.now() + 30_000
    while (status === 200 && performance.now() < until) {
      requests += 1
      status = (await request(socket, 'rebound.example')).status
    }
    assert.equal(status, 403, 'neither the old answer nor the pooled connection lives on')
    socket.destroy()
    await harness.stop(requests)
  })

  it('threat 41: is refused for the gateway’s own listeners, whatever is allowed', async (t) => {
    const harness = await started(t, { spec: spec(['127.0.0.0/8', '0.0.0.0/8']), resources: {} })
    answers.set('own.example', ['127.0.0.1'])
    answers.set('own-zero.example', ['0.0.0.0'])
    const ports = [
      harness.gateway.port(80),
      harness.gateway.control?.admin.port ?? 0,
      harness.gateway.control?.metrics.port ?? 0,
    ]
    const entries = ports.flatMap((port, i) => [
      serviceEntry(`own-${i}`, 'own.example', port, { resolution: 'DNS', port: 8000 + i }),
      serviceEntry(`own-zero-${i}`, 'own-zero.example', port, { resolution: 'DNS', port: 8000 + i }),
      serviceEntry(`own-static-${i}`, 'own-static.example', port, { port: 8000 + i }),
    ])
    const routes = ['own.example', 'own-zero.example', 'own-static.example'].map((host) =>
      virtualService(
        host.replace('.', '-'),
        [host],
        ports.map((_, i) => ({ match: [{ uri: { prefix: `/${i}` } }], route: to(host, 8000 + i) })),
      ),
    )
    assert.deepEqual(await harness.change({ 'all.yaml': documents(gateway(), ...entries, ...routes) }), {
      ok: true,
      errors: [],
    })
    const caller = new Caller(harness)
    for (const host of ['own.example', 'own-zero.example', 'own-static.example']) {
      for (let i = 0; i < ports.length; i += 1) assertDenied(await caller.call(host, { path: `/${i}` }), 'self')
    }
    await harness.stop(9)
  })
})

describe('names and addresses in the request itself', () => {
  it('a name that does not resolve is 503 UH', async (t) => {
    const harness = await started(t, { spec: spec(), resources: { 'all.yaml': byName(['no-such.example']) } })
    const { answer, line } = await new Caller(harness).call('no-such.example')
    assert.deepEqual([answer.status, answer.body], [503, 'no healthy upstream'])
    assert.deepEqual(
      [line['response_flags'], line['response_code_details'], line['reason']],
      ['UH', 'no_healthy_upstream', null],
    )
    assert.ok(
      dns.questions.every(({ name }) => !name.endsWith('.svc.cluster.local')),
      'no search domains',
    )
    await harness.stop(1)
  })

  it('a wildcard entry resolves the requested name, through the guard', async (t) => {
    answers.set('a.wild.example', ['127.0.0.1'])
    answers.set('b.wild.example', ['10.9.9.9'])
    const harness = await started(t, {
      spec: spec(['127.0.0.1']),
      resources: { 'all.yaml': byName(['*.wild.example'], 'DYNAMIC_DNS') },
    })
    const caller = new Caller(harness)
    const found = await caller.call('a.wild.example', { path: '/anything' })
    assert.deepEqual(
      [found.answer.status, found.line['upstream_host'], found.line['upstream_cluster']],
      [200, `127.0.0.1:${origin.port}`, 'outbound|80||*.wild.example'],
    )
    assert.equal(
      (JSON.parse(found.answer.body) as { headers: Record<string, string> }).headers['Host'],
      'a.wild.example',
    )
    assertDenied(await caller.call('b.wild.example'), 'private')
    const lost = await caller.call('c.wild.example')
    assert.deepEqual(
      [lost.answer.status, lost.line['response_flags'], lost.line['response_code_details']],
      [503, 'DF', 'dns_resolution_failure'],
    )
    assert.equal((await caller.call('wild.example')).answer.status, 502)
    await harness.stop(4)
  })

  it('ALLOW_ANY dials an unregistered name at the authority’s port, through the guard, as PassthroughCluster', async (t) => {
    answers.set('anywhere.example', ['127.0.0.1'])
    answers.set('inside.example', ['192.168.1.1'])
    const harness = await started(t, {
      spec: spec(['127.0.0.1'], { outboundTrafficPolicy: { mode: 'ALLOW_ANY' } }),
      resources: { 'all.yaml': documents(gateway()) },
    })
    const caller = new Caller(harness)
    const found = await caller.call(`anywhere.example:${origin.port}`)
    assert.deepEqual(
      [found.answer.status, found.line['upstream_cluster'], found.line['route_name'], found.line['upstream_host']],
      [200, 'PassthroughCluster', 'allow_any', `127.0.0.1:${origin.port}`],
    )
    assertDenied(await caller.call('inside.example'), 'private')
    assertDenied(await caller.call('169.254.169.254'), 'metadata')
    assertDenied(await caller.call('[::1]:80'), 'loopback')
    assertDenied(await caller.call(`127.0.0.1:${harness.gateway.port(80)}`), 'self')
    assertDenied(await caller.call(`anywhere.example:${harness.gateway.control?.admin.port ?? 0}`), 'self')
    assert.equal((await caller.call(`127.0.0.1:${origin.port}`)).answer.status, 200)
    await harness.stop(7)
  })

  it('threat 40: other spellings of an address are no way round', async (t) => {
    const harness = await started(t, {
      spec: spec([], { outboundTrafficPolicy: { mode: 'ALLOW_ANY' } }),
      resources: { 'all.yaml': documents(gateway()) },
    })
    const accepted = origin.accepted()
    const caller = new Caller(harness)
    const refused = { status: 400, reason: 'bad_request', details: 'invalid_authority' }
    const denied = { status: 403, reason: 'address_denied', details: 'address_denied{loopback}' }
    for (const [spelling, expected] of [
      ['2130706433', refused],
      ['0x7f.1', refused],
      ['0x7f000001', refused],
      ['0177.0.0.1', refused],
      ['127.1', refused],
      ['127.0.0.1.', refused],
      ['[0:0:0:0:0:0:0:1]', refused],
      ['[::ffff:127.0.0.1]', refused],
      // The one canonical spelling of that address: read, and judged by the IPv4 address within.
      ['[::ffff:7f00:1]', denied],
    ] as const) {
      const { answer, line } = await caller.call(`${spelling}:${origin.port}`)
      const { reason, response_code_details: details } = line
      assert.deepEqual({ status: answer.status, reason, details }, expected, spelling)
    }
    assert.equal(origin.accepted(), accepted)
    await harness.stop(caller.sent)
  })
})
