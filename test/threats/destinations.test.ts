/** Where the outside tries to send the gateway (threats 38, 42, 43): rebinding, aliases and names of the inside, redirects. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { type TestContext, test } from 'node:test'
import { type DnsReply, type DnsServer, startDnsServer } from '../../src/testing/dns-server.ts'
import { h2Over, h2Request } from '../../src/testing/h2-client.ts'
import type { Harness } from '../../src/testing/harness.ts'
import { buildHello } from '../../src/testing/hello.ts'
import { plainConnect, request } from '../../src/testing/mesh-client.ts'
import { startEchoOrigin, startRawOrigin } from '../../src/testing/origin.ts'
import {
  authorizationPolicy,
  documents,
  gateway,
  type Manifest,
  serviceEntry,
  to,
  virtualService,
} from '../integration/manifests.ts'
import { sample, stat } from '../integration/operator.ts'
import { started } from '../integration/started.ts'
import { l4Service, PASS, tlsRule, watch } from '../integration/tunnel-world.ts'

/** 10,000 by hand (SALLYPORT_REBINDING_TRIES), 200 in CI. */
const TRIES = Number(process.env['SALLYPORT_REBINDING_TRIES'] ?? 200)
// Elsewhere only 127.0.0.1 is on the loopback interface.
const skip = process.platform === 'linux' ? false : 'needs all of 127.0.0.0/8 on loopback (Linux)'
/** Stands for "public": another loopback address than the one that must not be reached. */
const PERMITTED = '127.0.0.2'

async function startDns(t: TestContext, answer: Parameters<typeof startDnsServer>[0]): Promise<DnsServer> {
  const dns = await startDnsServer(answer)
  t.after(() => dns.close())
  return dns
}

/** A name that answers with both addresses in turn and together, never twice the same. */
async function hostileDns(t: TestContext): Promise<DnsServer> {
  let turn = 0
  const answers = [['127.0.0.1'], [PERMITTED], ['127.0.0.1', PERMITTED], [PERMITTED, '127.0.0.1']]
  return startDns(t, ({ type }) => ({
    kind: 'answer',
    addresses: type === 'A' ? (answers[turn++ % answers.length] ?? []) : [],
    ttl: 0,
  }))
}

const rebindingSpec = (dns: DnsServer, mode: 'ALLOW_ANY' | 'REGISTRY_ONLY') => ({
  ports: { 80: 0, [PASS]: 0 },
  dns: { servers: [dns.address], minTtl: '0s', maxTtl: '0s', staleFor: '0s' },
  addressGuard: { allow: [`${PERMITTED}/32`] },
  meshConfig: { outboundTrafficPolicy: { mode } },
})

for (const way of ['DNS', 'DNS_ROUND_ROBIN', 'DYNAMIC_DNS', 'ALLOW_ANY'] as const) {
  test(`threat 38: ${way}: ${TRIES} requests to a name that rebinds, no hit on the private listener`, {
    skip,
  }, async (t) => {
    const secret = await startRawOrigin({ host: '127.0.0.1' })
    t.after(() => secret.close())
    // The same port on two addresses: only the address tells them apart.
    const site = createServer((_request, response) => void response.writeHead(204).end())
    site.listen(secret.port, PERMITTED)
    await once(site, 'listening')
    t.after(() => site.close())
    const dns = await hostileDns(t)
    const entry = way === 'DYNAMIC_DNS' ? '*.example' : 'rebind.example'
    const registered = [
      serviceEntry('rebind', entry, secret.port, { resolution: way }),
      virtualService('rebind', [entry], [{ route: to(entry) }]),
    ]
    const harness = await started(t, {
      spec: rebindingSpec(dns, way === 'ALLOW_ANY' ? way : 'REGISTRY_ONLY'),
      resources: { 'all.yaml': documents(gateway(), ...(way === 'ALLOW_ANY' ? [] : registered)) },
    })
    const host = way === 'ALLOW_ANY' ? `rebind.example:${secret.port}` : 'rebind.example'
    const socket = await plainConnect(harness.gateway.port(80))
    const statuses = { 204: 0, 403: 0 }
    for (let i = 0; i < TRIES; i++) {
      const { status } = await request(socket, host)
      assert.ok(status === 204 || status === 403, String(status))
      statuses[status]++
    }
    socket.destroy()
    assert.equal(secret.connections.length, 0)
    // Both kinds of answers were really given.
    assert.ok(statuses[204] > TRIES / 10 && statuses[403] > TRIES / 20, JSON.stringify(statuses))
    await harness.stop(TRIES)
  })
}

test('threat 38: tunnels to a name that rebinds, no hit on the private listener', { skip }, async (t) => {
  const [secret, dns] = [await startRawOrigin(), await hostileDns(t)]
  t.after(() => secret.close())
  const host = 'rebind.example'
  const harness = await started(t, {
    spec: rebindingSpec(dns, 'REGISTRY_ONLY'),
    resources: {
      'all.yaml': documents(
        gateway({ number: PASS, name: 'pass', protocol: 'TLS', tls: { mode: 'PASSTHROUGH' } }),
        serviceEntry('rebind', host, secret.port, { port: 443, protocol: 'TLS', resolution: 'DNS' }),
        l4Service('rebind', host, { tls: [tlsRule(PASS, host)] }),
      ),
    },
  })
  const tries = Math.ceil(TRIES / 4)
  for (let i = 0; i < tries; i++) await closedTunnel(harness, host)
  assert.equal(secret.connections.length, 0)
  // The private address was among the answers and left out; where the other was dialled, that failed: nobody listens there.
  const denied = await sample(harness, `sallyport_address_denied_total{cluster_name="outbound|443||${host}"}`)
  assert.ok((denied ?? 0) > tries / 4, `${denied} denied`)
  for (const line of await harness.lines(tries)) {
    if (line['reason'] !== 'address_denied') assert.deepEqual([line['reason'], line['response_flags']], [null, 'UF'])
    assert.ok(line['upstream_host'] === null || line['upstream_host'] === `${PERMITTED}:${secret.port}`)
  }
  await harness.stop(tries)
})

/** A passthrough connection that sends a ClientHello and is closed without an answer. */
async function closedTunnel(harness: Harness, sni: string): Promise<void> {
  const socket = await plainConnect(harness.gateway.port(PASS))
  const seen = watch(socket)
  socket.write(buildHello({ names: [sni] }))
  await seen.closed
  assert.equal(seen.bytes.length, 0)
}

const routed = (slug: string, host: string, port: number, resolution: string): Manifest[] => [
  serviceEntry(slug, host, port, { resolution }),
  virtualService(slug, [host], [{ route: to(host) }]),
]

test('threat 42: an alias into the cluster is judged by the addresses at its end, not by its name', async (t) => {
  const origin = await startEchoOrigin()
  t.after(() => origin.close())
  const inside = 'api.default.svc.cluster.local'
  const ends: Readonly<Record<string, string>> = {
    'private.example': '10.96.0.1',
    'metadata.example': '169.254.169.254',
    'link-local.example': '169.254.20.10',
    'permitted.example': '127.0.0.1',
  }
  const dns = await startDns(t, ({ name, type }): DnsReply => {
    const address = ends[name]
    if (address === undefined) return { kind: 'rcode', code: 'NXDOMAIN' }
    return { kind: 'answer', addresses: type === 'A' ? [address] : [], ttl: 60, cname: inside }
  })
  const harness = await started(t, {
    spec: { dns: { servers: [dns.address] }, addressGuard: { allow: ['127.0.0.1'] } },
    resources: {
      'all.yaml': documents(
        gateway(),
        ...Object.keys(ends).flatMap((host, i) => routed(`alias-${i}`, host, origin.port, 'DNS')),
      ),
    },
  })
  const socket = await plainConnect(harness.gateway.port(80))
  for (const host of Object.keys(ends))
    assert.equal((await request(socket, host)).status, host === 'permitted.example' ? 200 : 403, host)
  socket.destroy()
  assert.deepEqual(
    (await harness.lines(4)).map((line) => [line['response_code_details'], line['upstream_host']]),
    [
      ...['private', 'metadata', 'link_local'].map((each) => [`address_denied{${each}}`, null]),
      ['via_upstream', `127.0.0.1:${origin.port}`],
    ],
  )
  assert.equal(origin.accepted(), 1)
  assert.ok(dns.questions.every(({ name }) => name in ends))
  await harness.stop(4)
})

test('threat 42: names are asked for as they are, never with a search domain behind them', async (t) => {
  const origin = await startEchoOrigin()
  t.after(() => origin.close())
  // Only what a search domain would make of the name exists.
  const dns = await startDns(t, ({ name, type }) =>
    /\.(?:svc|cluster\.local|local|internal|lan)$/.test(name)
      ? { kind: 'answer', addresses: type === 'A' ? ['127.0.0.1'] : [], ttl: 60 }
      : { kind: 'rcode', code: 'NXDOMAIN' },
  )
  const harness = await started(t, {
    spec: {
      dns: { servers: [dns.address] },
      addressGuard: { allow: ['127.0.0.1'] },
      meshConfig: { outboundTrafficPolicy: { mode: 'ALLOW_ANY' } },
    },
    resources: { 'all.yaml': documents(gateway(), ...routed('db', 'db.example', origin.port, 'DNS')) },
  })
  const socket = await plainConnect(harness.gateway.port(80))
  for (const host of ['db.example', 'any.example', 'any.example.'])
    assert.equal((await request(socket, host)).status, 503, host)
  socket.destroy()
  assert.deepEqual(new Set(dns.questions.map(({ name }) => name)), new Set(['db.example', 'any.example']))
  assert.equal(origin.accepted(), 0)
  await harness.stop(3)
})

test('threat 42: names of the inside lead somewhere only where an entry declares them', async (t) => {
  const origin = await startEchoOrigin()
  t.after(() => origin.close())
  const dns = await startDns(t, ({ type }) => ({
    kind: 'answer',
    addresses: type === 'A' ? ['127.0.0.1'] : [],
    ttl: 60,
  }))
  const harness = await started(t, {
    spec: {
      ports: { 80: 0, [PASS]: 0 },
      dns: { servers: [dns.address] },
      addressGuard: { allow: ['127.0.0.1'] },
      meshConfig: { outboundTrafficPolicy: { mode: 'ALLOW_ANY' } },
    },
    resources: {
      'all.yaml': documents(
        gateway({}, { number: PASS, name: 'pass', protocol: 'TLS', tls: { mode: 'PASSTHROUGH' } }),
        ...routed('db', 'db.corp.internal', origin.port, 'DNS'),
        ...routed('shop', '*.shop.svc.cluster.local', origin.port, 'DYNAMIC_DNS'),
      ),
    },
  })
  const socket = await plainConnect(harness.gateway.port(80))
  for (const [host, status] of [
    ['db.corp.internal', 200],
    ['web.shop.svc.cluster.local', 200],
    ['other.corp.internal', 403],
    ['web.bank.svc.cluster.local', 403],
    ['Kubernetes.Default.SVC.', 403],
    [`localhost:${origin.port}`, 403],
  ] as const)
    assert.equal((await request(socket, host)).status, status, host)
  socket.destroy()
  await closedTunnel(harness, 'api.default.svc.cluster.local')
  const lines = await harness.lines(7)
  assert.deepEqual(
    lines.slice(2).map((line) => [line['reason'], line['response_code_details'], line['upstream_host']]),
    lines.slice(2).map(() => ['address_denied', 'address_denied{inside_name}', null]),
  )
  assert.deepEqual(
    new Set(dns.questions.map(({ name }) => name)),
    new Set(['db.corp.internal', 'web.shop.svc.cluster.local']),
  )
  await harness.stop(7)
})

test('threat 43: redirects are passed through as they are, never followed, in both versions of HTTP', async (t) => {
  const secret = await startRawOrigin()
  t.after(() => secret.close())
  const host = 'site.example'
  const targets = [`http://127.0.0.1:${secret.port}/secret`, `//secret.example:${secret.port}/`, `http://${host}/again`]
  const origin = await startRawOrigin({
    onRequest: ({ socket }, head) => {
      const [, status, target] = /^\S+ \/(\d+)\/(\d+) /.exec(head) ?? []
      socket.write(`HTTP/1.1 ${status} Moved\r\nlocation: ${targets[Number(target)]}\r\ncontent-length: 5\r\n\r\nmoved`)
    },
  })
  t.after(() => origin.close())
  const harness = await started(t, {
    resources: {
      'all.yaml': documents(
        gateway(),
        serviceEntry('site', host, origin.port),
        serviceEntry('secret', 'secret.example', secret.port),
        virtualService('site', [host], [{ route: to(host) }]),
        virtualService('secret', ['secret.example'], [{ route: to('secret.example') }]),
        // The caller itself may not go where the site sends it.
        authorizationPolicy('no-secret', 'DENY', [{ to: [{ operation: { hosts: ['secret.example'] } }] }]),
      ),
    },
  })
  const socket = await plainConnect(harness.gateway.port(80))
  const session = h2Over(await plainConnect(harness.gateway.port(80)))
  const sent: string[] = []
  for (const status of [301, 302, 303, 307, 308]) {
    for (const [index, target] of targets.entries()) {
      const path = `/${status}/${index}`
      for (const method of ['GET', 'POST']) {
        const options = { method, path, ...(method === 'POST' ? { body: 'hello' } : {}) }
        const answer = await request(socket, host, options)
        assert.deepEqual([answer.status, answer.headers.location, answer.body], [status, target, 'moved'])
        const over2 = await h2Request(session, host, options)
        assert.deepEqual([over2.status, over2.headers.location, over2.body.toString()], [status, target, 'moved'])
        sent.push(`${method} ${path}`, `${method} ${path}`)
      }
    }
  }
  socket.destroy()
  session.close()
  const lines = await harness.lines(sent.length)
  for (const line of lines)
    assert.deepEqual([line['upstream_host'], line['response_flags']], [`127.0.0.1:${origin.port}`, '-'])
  assert.equal(secret.connections.length, 0)
  const seen = origin.connections.flatMap(({ text }) =>
    [...text.matchAll(/((?:GET|POST) \/\d+\/\d) HTTP/g)].map(([, each]) => each),
  )
  const byText = (a: string | undefined, b: string | undefined) => (String(a) < String(b) ? -1 : 1)
  assert.deepEqual(seen.toSorted(byText), sent.toSorted(byText))
  assert.equal(await stat(harness, `cluster.outbound|80||${host}.upstream_rq_total`), sent.length)
  await harness.stop(sent.length)
})
