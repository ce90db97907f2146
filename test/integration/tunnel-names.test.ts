/** The names of a tunnel: outer and inner SNI, hellos that are odd, cut up, broken or too large (contract §4 Names; threats 33, 34). */
import assert from 'node:assert/strict'
import type { Socket } from 'node:net'
import { after, before, test } from 'node:test'
import { startDnsServer } from '../../src/testing/dns-server.ts'
import type { Harness } from '../../src/testing/harness.ts'
import { buildHello, records, serverNames } from '../../src/testing/hello.ts'
import { plainConnect } from '../../src/testing/mesh-client.ts'
import type { RawOrigin } from '../../src/testing/origin.ts'
import { createTestPki, type TestPki } from '../../src/testing/pki.ts'
import { documents, serviceEntry } from './manifests.ts'
import { started } from './started.ts'
import {
  CNN,
  DB,
  l4Service,
  meshTunnel,
  OUTBOUND,
  PASS,
  PORTS,
  startDatabase,
  tlsRule,
  tunnelGateway,
  tunnelManifests,
  watch,
} from './tunnel-world.ts'

let pki: TestPki
/** Both only record: what was judged must arrive byte for byte. */
let site: RawOrigin
let database: RawOrigin
before(async () => {
  pki = await createTestPki()
  site = await startDatabase()
  database = await startDatabase()
})
after(async () => {
  await site.close()
  await database.close()
})

async function startAll(t: Parameters<typeof started>[0]): Promise<Harness> {
  const resources = { 'all.yaml': documents(...tunnelManifests(site.port, database.port)) }
  return started(t, { pki, resources, spec: { ports: PORTS } })
}

type Sent = { readonly outer?: string; readonly bytes: Buffer; readonly pieces?: number }
/** `site`, `database`, or the reason it is refused for. */
type Expected = 'site' | 'database' | 'sni_mismatch' | 'not_registered' | 'protocol_mismatch' | 'no_sni'

const OWN = 'istio-egressgateway.istio-system.svc.cluster.local'
const hello = (...names: readonly string[]) => buildHello({ names })
const raw = (...names: readonly string[]) => [[0, serverNames(names)] as const]
const padding = (size: number) => [[21, Buffer.alloc(size)] as const]

/** TABLE of what comes inside mTLS. */
const INSIDE: Readonly<Record<string, readonly [Sent, Expected]>> = {
  'a routed name': [{ bytes: hello(CNN) }, 'site'],
  'in capitals': [{ bytes: hello('EDITION.Cnn.com') }, 'site'],
  'with a trailing dot': [{ bytes: hello(`${CNN}.`) }, 'site'],
  'with two trailing dots': [{ bytes: hello(`${CNN}..`) }, 'protocol_mismatch'],
  'the same name outside': [{ outer: CNN, bytes: hello(CNN) }, 'site'],
  'the same name outside, in capitals': [{ outer: 'Edition.CNN.com', bytes: hello(CNN) }, 'site'],
  'the gateway’s own name outside': [{ outer: OWN, bytes: hello(CNN) }, 'site'],
  'threat 34: another name outside': [{ outer: 'www.example.org', bytes: hello(CNN) }, 'sni_mismatch'],
  'threat 34: another name outside, for one nobody routes': [
    { outer: CNN, bytes: hello('www.example.org') },
    'sni_mismatch',
  ],
  'a name nobody routes': [{ bytes: hello('www.example.org') }, 'not_registered'],
  'a name below a routed one': [{ bytes: hello(`a.${CNN}`) }, 'not_registered'],
  'the name of the tcp route': [{ bytes: hello(DB) }, 'database'],
  'no name': [{ bytes: hello() }, 'database'],
  'no name, but one outside': [{ outer: 'www.example.org', bytes: hello() }, 'database'],
  'records of one byte': [{ bytes: buildHello({ names: [CNN], recordSize: 1 }) }, 'site'],
  'one byte at a time': [{ bytes: hello(CNN), pieces: 1 }, 'site'],
  'records of three bytes, two bytes at a time': [
    { bytes: buildHello({ names: [CNN], recordSize: 3 }), pieces: 2 },
    'site',
  ],
  'much larger than a record': [{ bytes: buildHello({ names: [CNN], extensions: padding(40_000) }) }, 'site'],
  'ECH: the name that shows is not the one that counts': [
    { bytes: buildHello({ names: [CNN], extensions: [[0xfe0d, Buffer.alloc(200, 1)]] }) },
    'protocol_mismatch',
  ],
  'too large by its own account': [{ bytes: Buffer.from([0x16, 3, 1, 0, 4, 1, 1, 0, 0]) }, 'protocol_mismatch'],
  'too large by its records': [
    { bytes: buildHello({ names: [CNN], extensions: padding(14_000), recordSize: 1 }) },
    'protocol_mismatch',
  ],
  'two host names': [{ bytes: hello(CNN, 'www.example.org') }, 'protocol_mismatch'],
  'two server_name extensions': [{ bytes: buildHello({ names: [CNN], extensions: raw(CNN) }) }, 'protocol_mismatch'],
  'an address': [{ bytes: hello('127.0.0.1') }, 'protocol_mismatch'],
  'an address in hexadecimal': [{ bytes: hello('0x7f.1') }, 'protocol_mismatch'],
  'a NUL in the name': [{ bytes: hello(`${CNN}\0.example.org`) }, 'protocol_mismatch'],
  'letters beyond ASCII': [{ bytes: hello('ed\u0131tion.cnn.com'.replace('\u0131', '\xfd')) }, 'protocol_mismatch'],
  'an empty name': [{ bytes: hello('') }, 'protocol_mismatch'],
  'another handshake message': [{ bytes: records(Buffer.from([2, 0, 0, 1, 0])) }, 'protocol_mismatch'],
  'an empty record': [{ bytes: Buffer.from([0x16, 3, 1, 0, 0]) }, 'protocol_mismatch'],
  'another version of records': [{ bytes: Buffer.from([0x16, 2, 0, 0, 4]) }, 'protocol_mismatch'],
  'SSLv2: bytes like any other': [
    { bytes: Buffer.from('802e0103010015000000100100800300800700c0', 'hex') },
    'database',
  ],
  'HTTP: bytes like any other': [{ bytes: Buffer.from(`GET / HTTP/1.1\r\nhost: ${CNN}\r\n\r\n`) }, 'database'],
}

test('threat 33: what comes inside mTLS', async (t) => {
  const harness = await startAll(t)
  let lines = 0
  for (const [name, [sent, expected]] of Object.entries(INSIDE)) {
    await t.test(name, async () => {
      const tunnel = await meshTunnel(harness, { servername: sent.outer ?? OUTBOUND })
      await outcome(tunnel, sent, expected)
      lines += 1
      const line = (await harness.lines(lines))[lines - 1]
      const refused = expected !== 'site' && expected !== 'database'
      assert.equal(line?.['reason'], refused ? expected : null)
      assert.equal(line?.['upstream_host'] === null, refused)
      assert.equal(line?.['requested_server_name'], (sent.outer ?? OUTBOUND).toLowerCase())
    })
  }
  await harness.stop(lines)
})

/** Where the bytes come out, or that none do. */
async function outcome(socket: Socket, { bytes, pieces = bytes.length }: Sent, expected: Expected): Promise<void> {
  const dialled = [site.connections.length, database.connections.length] as const
  socket.allowHalfOpen = false
  const seen = watch(socket)
  for (let at = 0; at < bytes.length; at += pieces) {
    socket.write(bytes.subarray(at, at + pieces))
    if (pieces < bytes.length) await new Promise((resolve) => setImmediate(resolve))
  }
  if (expected === 'site' || expected === 'database') {
    const far = await (expected === 'site' ? site.connection(dialled[0]) : database.connection(dialled[1]))
    const got = await far.until((text) => text.length >= bytes.length)
    assert.ok(Buffer.from(got, 'latin1').equals(bytes), 'byte for byte')
    far.socket.end()
    socket.end()
  }
  await seen.closed
  assert.equal(seen.bytes.length, 0)
  const now = [site.connections.length, database.connections.length]
  assert.deepEqual(now, [dialled[0] + Number(expected === 'site'), dialled[1] + Number(expected === 'database')])
}

const PASSED: Readonly<Record<string, readonly [Sent, Expected]>> = {
  'a routed name, in capitals, with a dot': [{ bytes: hello('EDITION.CNN.com.') }, 'site'],
  'one byte at a time in records of one byte': [
    { bytes: buildHello({ names: [CNN], recordSize: 1 }), pieces: 1 },
    'site',
  ],
  'no name': [{ bytes: hello() }, 'protocol_mismatch'],
  'a name nobody routes': [{ bytes: hello('www.example.org') }, 'not_registered'],
  'an address': [{ bytes: hello('10.0.0.1') }, 'protocol_mismatch'],
  'two names': [{ bytes: hello(CNN, CNN) }, 'protocol_mismatch'],
  SSLv2: [{ bytes: Buffer.from('802e0103010015000000100100800300800700c0', 'hex') }, 'protocol_mismatch'],
  'no TLS': [{ bytes: Buffer.from('SSH-2.0-x\r\n') }, 'protocol_mismatch'],
}

test('threat 33: what comes to be passed through', async (t) => {
  const harness = await startAll(t)
  const reasons: unknown[] = []
  for (const [name, [sent, expected]] of Object.entries(PASSED)) {
    await t.test(name, async () => {
      await outcome(await plainConnect(harness.gateway.port(PASS)), sent, expected)
      reasons.push(expected === 'site' ? null : name === 'no name' ? 'no_sni' : expected)
      const lines = await harness.lines(reasons.length)
      assert.deepEqual(
        lines.map((line) => line['reason']),
        reasons,
      )
    })
  }
  await harness.stop(reasons.length)
})

test('threat 33: half a ClientHello, then silence: refused after five seconds, never taken for bytes without a name', async (t) => {
  const harness = await startAll(t)
  const before = site.connections.length + database.connections.length
  const bytes = hello('www.example.org')
  const hungUp = await meshTunnel(harness)
  hungUp.end(bytes.subarray(0, 40))
  const silent = [await meshTunnel(harness), await plainConnect(harness.gateway.port(PASS))].map((socket) => {
    socket.allowHalfOpen = false
    socket.write(bytes.subarray(0, bytes.length - 1))
    return watch(socket)
  })
  for (const { closed } of silent) await closed
  const lines = await harness.lines(3)
  assert.deepEqual(
    lines.map((line) => [line['reason'], line['response_flags']]),
    [
      [null, 'DC'],
      ...lines.slice(1).map((line) => ['protocol_mismatch', line['requested_server_name'] === null ? 'NR' : 'DPE']),
    ],
  )
  for (const line of lines) assert.deepEqual([line['upstream_host'], line['response_code']], [null, 0])
  assert.equal(site.connections.length + database.connections.length, before)
  await harness.stop(3)
})

test('threat 37: addresses that may not be dialled: closed with the class, by entry and by ALLOW_ANY', async (t) => {
  await using dns = await startDnsServer(({ type }) =>
    type === 'A' ? { kind: 'answer', addresses: ['10.1.2.3'], ttl: 60 } : { kind: 'answer', addresses: [], ttl: 60 },
  )
  const harness = await started(t, {
    pki,
    spec: {
      ports: PORTS,
      dns: { servers: [dns.address] },
      meshConfig: { outboundTrafficPolicy: { mode: 'ALLOW_ANY' } },
    },
    resources: {
      'all.yaml': documents(
        tunnelGateway(),
        serviceEntry('cnn', CNN, 443, { port: 443, protocol: 'TLS', resolution: 'DNS' }),
        l4Service('cnn', CNN, { tls: [tlsRule(PASS, CNN)] }),
      ),
    },
  })
  for (const [index, [name, cluster]] of [
    [CNN, `outbound|443||${CNN}`],
    ['any.example.org', 'PassthroughCluster'],
  ].entries()) {
    const socket = await plainConnect(harness.gateway.port(PASS))
    const { closed } = watch(socket)
    socket.write(hello(name ?? ''))
    await closed
    const line = (await harness.lines(index + 1))[index]
    assert.deepEqual(
      ['reason', 'response_code_details', 'upstream_cluster', 'upstream_host'].map((key) => line?.[key]),
      ['address_denied', 'address_denied{private}', cluster, null],
    )
  }
  await harness.stop(2)
})
