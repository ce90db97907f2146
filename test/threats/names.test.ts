/** Names that mean more than they seem (threats 20, 24, 25): ports under a permission, wildcards, international names, in both versions of HTTP. */
import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { startDnsServer } from '../../src/testing/dns-server.ts'
import { type Fields, FRAME, FrameClient } from '../../src/testing/h2-frames.ts'
import type { Harness } from '../../src/testing/harness.ts'
import { meshConnect, plainConnect, rawExchange } from '../../src/testing/mesh-client.ts'
import { type RawOrigin, startRawOrigin } from '../../src/testing/origin.ts'
import { test } from '../integration/engines.ts'
import {
  authorizationPolicy,
  documents,
  gateway,
  ISTIO_MUTUAL,
  type Manifest,
  serviceEntry,
  to,
  virtualService,
} from '../integration/manifests.ts'
import { started } from '../integration/started.ts'

const OK = 'HTTP/1.1 204 No Content\r\n\r\n'

async function startOrigin(t: TestContext): Promise<RawOrigin> {
  const origin = await startRawOrigin({ onRequest: ({ socket }) => socket.write(OK) })
  t.after(() => origin.close())
  return origin
}

/** STATIC entries and routes to one origin. */
const sites = (origin: RawOrigin, ...hosts: readonly string[]): Manifest[] =>
  hosts.flatMap((host, i) => [
    serviceEntry(`site-${i}`, host, origin.port),
    virtualService(`site-${i}`, [host], [{ route: to(host) }]),
  ])

const hostsPolicy = (action: 'ALLOW' | 'DENY', hosts: readonly string[]) =>
  authorizationPolicy('by-host', action, [{ to: [{ operation: { hosts } }] }])

/** `host` is Latin-1: one character is one byte. */
async function statusOf(harness: Harness, host: string): Promise<number> {
  const socket = await plainConnect(harness.gateway.port(80))
  const bytes = Buffer.from(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`, 'latin1')
  const answer = await rawExchange(socket, bytes, (text) => text.includes('\r\n\r\n'))
  socket.destroy()
  return Number(/^HTTP\/1\.1 (\d{3}) /.exec(answer)?.[1])
}

const utf8 = (text: string) => Buffer.from(text).toString('latin1')

test('threat 20: a permission without port holds for no other port; one with a port for that port; a refusal for all', async (t) => {
  const origin = await startOrigin(t)
  const harness = await started(t, { resources: { 'all.yaml': documents(gateway(), ...sites(origin, 'a.example')) } })
  const table: readonly (readonly ['ALLOW' | 'DENY', rule: string, Readonly<Record<string, number>>])[] = [
    // 80 is the scheme's default and the Gateway port.
    ['ALLOW', 'a.example', { 'a.example': 204, 'A.example.:80': 204, 'a.example:443': 403, 'a.example:8080': 403 }],
    ['ALLOW', 'a.example:8080', { 'a.example:8080': 204, 'a.example': 403, 'a.example:80': 403, 'a.example:443': 403 }],
    ['DENY', 'a.example', { 'a.example': 403, 'A.example.:80': 403, 'a.example:443': 403, 'a.example:8080': 403 }],
    ['DENY', 'a.example:8080', { 'a.example:8080': 403, 'a.example': 204, 'a.example:443': 204 }],
  ]
  let lines = 0
  for (const [action, rule, hosts] of table) {
    assert.ok((await harness.change({ 'policy.yaml': documents(hostsPolicy(action, [rule])) })).ok)
    for (const [host, status] of Object.entries(hosts)) {
      assert.equal(await statusOf(harness, host), status, `${action} ${rule}: ${host}`)
      lines += 1
    }
  }
  await harness.stop(lines)
})

test('threat 20: every spelling of :authority is decided as its canonical form, or refused', async (t) => {
  const origin = await startOrigin(t)
  const harness = await started(t, {
    resources: {
      'all.yaml': documents(
        gateway({ number: 443, tls: ISTIO_MUTUAL }),
        ...sites(origin, 'good.example', 'evil.example'),
        hostsPolicy('DENY', ['evil.example']),
      ),
    },
  })
  const svid = await harness.pki.svid('apps/sleep')
  const mesh = { port: harness.gateway.port(443), svid, ca: harness.pki.root, alpn: ['h2'] }
  const client = new FrameClient(await meshConnect(mesh))
  // `reset`: the HTTP/2 layer finds it malformed, and no request comes of it.
  const table: Readonly<Record<string, 'same' | 400 | 'reset'>> = {
    NAME: 'same',
    UPPER: 'same',
    'NAME.': 'same',
    'NAME:80': 'same',
    'NAME:443': 'same',
    'NAME.:8080': 'same',
    'NAME:': 400,
    'NAME:080': 400,
    'NAME:65536': 400,
    'NAME..': 400,
    'user@NAME': 'reset',
    'NAME#x': 'reset',
    'NAME/': 'reset',
    'NAME, other.example': 'reset',
    '[NAME]': 400,
  }
  let [stream, lines] = [1, 0]
  for (const [spelling, expected] of Object.entries(table)) {
    for (const [name, decision] of [
      ['evil.example', 403],
      ['good.example', 204],
    ] as const) {
      const authority = spelling.replace('NAME', name).replace('UPPER', name.toUpperCase())
      const fields: Fields = [
        [':method', 'GET'],
        [':scheme', 'https'],
        [':path', '/'],
        [':authority', authority],
      ]
      client.request(stream, fields)
      const end = await client.endOf(stream)
      stream += 2
      if (expected === 'reset') {
        assert.equal(end?.type, FRAME.reset, authority)
        continue
      }
      lines += 1
      assert.ok(end !== null && end.type !== FRAME.reset, authority)
      const line = (await harness.lines(lines))[lines - 1]
      assert.equal(line?.['response_code'], expected === 400 ? 400 : decision, authority)
    }
  }
  const sent = origin.connections.map(({ text }) => text).join('')
  for (const [, host] of sent.matchAll(/\r\nhost: (.*)\r\n/g)) assert.match(host ?? '', /^good\.example(?::[1-9]\d*)?$/)
  client.socket.destroy()
  await harness.stop(lines)
})

/** TABLE: Host → is it one of `*.example.com`; 400: no name at all. */
const BELOW: Readonly<Record<string, boolean | 400>> = {
  'a.example.com': true,
  'a.b.example.com': true,
  'A.B.Example.COM.': true,
  'a.example.com:80': true,
  'example.com': false,
  'badexample.com': false,
  'example.com.evil.io': false,
  'a.example.com.evil.io': false,
  'a.example.comx': false,
  'a.example-com': false,
  'xample.com': false,
  '.example.com': 400,
  '*.example.com': 400,
  '*': 400,
}

test('threat 24: a wildcard that is registered and routed covers the names below it, at any depth, and no other', async (t) => {
  const origin = await startOrigin(t)
  const dns = await startDnsServer(() => ({ kind: 'answer', addresses: ['127.0.0.1'], ttl: 60 }))
  t.after(() => dns.close())
  const wild = '*.example.com'
  const harness = await started(t, {
    spec: { dns: { servers: [dns.address] }, addressGuard: { allow: ['127.0.0.1'] } },
    resources: {
      'all.yaml': documents(
        gateway(),
        serviceEntry('wild', wild, origin.port, { resolution: 'DYNAMIC_DNS' }),
        virtualService('wild', [wild], [{ route: to(wild) }]),
      ),
    },
  })
  for (const [host, below] of Object.entries(BELOW))
    assert.equal(await statusOf(harness, host), below === 400 ? 400 : below ? 204 : 502, host)
  assert.deepEqual([...new Set(dns.questions.map(({ name }) => name))], ['a.example.com', 'a.b.example.com'])
  await harness.stop(Object.keys(BELOW).length)
})

test('threat 24: a wildcard in a policy covers the same names, under ALLOW and DENY; a star alone covers all', async (t) => {
  const origin = await startOrigin(t)
  const named = Object.entries(BELOW).filter(([, below]) => below !== 400)
  const hosts = new Set(named.map(([host]) => host.toLowerCase().replace(/:80$|\.$/, '')))
  const harness = await started(t, { resources: { 'all.yaml': documents(gateway(), ...sites(origin, ...hosts)) } })
  for (const [action, rule, expected] of [
    ['ALLOW', '*.example.com', (below: boolean) => below],
    ['DENY', '*.example.com', (below: boolean) => !below],
    ['ALLOW', '*', () => true],
    ['DENY', '*', () => false],
  ] as const) {
    assert.ok((await harness.change({ 'policy.yaml': documents(hostsPolicy(action, [rule])) })).ok)
    for (const [host, below] of named)
      assert.equal(await statusOf(harness, host), expected(below === true) ? 204 : 403, `${action} ${rule}: ${host}`)
  }
  await harness.stop(4 * named.length)
})

test('threat 24: a name with a dot before it, which elsewhere means itself and all below, is refused wherever it stands', async (t) => {
  const harness = await started(t, { resources: { 'all.yaml': documents(gateway()) } })
  const entry = serviceEntry('a', 'a.example.com', 1)
  for (const manifests of [
    [serviceEntry('dot', '.example.com', 1)],
    [entry, virtualService('dot', ['.example.com'], [{ route: to('a.example.com') }])],
    [hostsPolicy('DENY', ['.example.com'])],
  ]) {
    const { ok, errors } = await harness.change({ 'wrong.yaml': documents(...manifests) })
    assert.equal(ok, false)
    assert.match(errors.join('\n'), /wrong\.yaml:\d+:\d+ error SP\d{4} .*"\.example\.com"/)
  }
  await harness.stop(0)
})

const A_LABEL = 'xn--bcher-kva.example'

/** TABLE: Host → decided like the A-label, or refused. */
const INTERNATIONAL: Readonly<Record<string, 'same' | 400>> = {
  [A_LABEL]: 'same',
  'XN--BCHER-KVA.EXAMPLE': 'same',
  'Xn--Bcher-Kva.example.:80': 'same',
  [utf8('bücher.example')]: 400,
  'b\xfccher.example': 400,
  [utf8('bu\u0308cher.example')]: 400,
  'b%C3%BCcher.example': 400,
  [utf8('xn--bcher-kva\uff0eexample')]: 400,
  [utf8('xn--bcher-kva\u3002example')]: 400,
  [utf8('xn--bcher-kva\u200d.example')]: 400,
  [utf8('xn--bcher-\u200bkva.example')]: 400,
  [utf8('\uff58n--bcher-kva.example')]: 400,
  // The Kelvin sign, whose lower case is k.
  [utf8('xn--bcher-\u212ava.example')]: 400,
  'xn--bcher-kva\xad.example': 400,
}

test('threat 25: an international name has one form, its A-label; every other spelling is 400 and dials nothing', async (t) => {
  const origin = await startOrigin(t)
  const all = documents(gateway(), ...sites(origin, A_LABEL))
  const harness = await started(t, { resources: { 'all.yaml': all } })
  for (const [policy, decision] of [
    [null, 204],
    [hostsPolicy('DENY', ['XN--BCHER-KVA.example']), 403],
    [hostsPolicy('ALLOW', ['other.example']), 403],
  ] as const) {
    assert.ok((await harness.change({ 'policy.yaml': policy === null ? null : documents(policy) })).ok)
    for (const [host, expected] of Object.entries(INTERNATIONAL))
      assert.equal(await statusOf(harness, host), expected === 400 ? 400 : decision, JSON.stringify(host))
  }
  const sent = origin.connections.map(({ text }) => text).join('')
  const hosts = [...sent.matchAll(/\r\nhost: (.*)\r\n/g)].map(([, host]) => host)
  assert.deepEqual(hosts, [A_LABEL, A_LABEL, `${A_LABEL}:80`])
  const count = 3 * Object.keys(INTERNATIONAL).length
  for (const line of (await harness.lines(count)).filter((each) => each['response_code'] === 400))
    assert.deepEqual([line['reason'], line['upstream_host']], ['bad_request', null])
  await harness.stop(count)
})

test('threat 25: a name that is not ASCII is refused in the configuration too', async (t) => {
  const harness = await started(t, { resources: { 'all.yaml': documents(gateway()) } })
  for (const manifests of [
    [serviceEntry('u', 'bücher.example', 1)],
    [hostsPolicy('DENY', ['bücher.example'])],
    [hostsPolicy('DENY', ['*.bücher.example'])],
    [authorizationPolicy('sni', 'DENY', [{ when: [{ key: 'connection.sni', values: ['bücher.example'] }] }])],
  ]) {
    const { ok, errors } = await harness.change({ 'wrong.yaml': documents(...manifests) })
    assert.equal(ok, false)
    assert.match(errors.join('\n'), /wrong\.yaml:\d+:\d+ error SP\d{4} .*bücher/)
  }
  await harness.stop(0)
})
