/** `tls` and `tcp` rules: which connections they take, and where to (behaviour §4.7). */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import type { Harness } from '../../src/testing/harness.ts'
import { plainConnect } from '../../src/testing/mesh-client.ts'
import { type RawOrigin, startRawOrigin } from '../../src/testing/origin.ts'
import { createTestPki, type TestPki } from '../../src/testing/pki.ts'
import { destinationRule, documents, type Manifest, serviceEntry, to } from '../integration/manifests.ts'
import { started } from '../integration/started.ts'
import { application, CNN, l4Service, PASS, PORTS, RAW, rawTunnel, tunnelGateway } from '../integration/tunnel-world.ts'
import { told } from './route-site.ts'

type World = {
  readonly pki: TestPki
  /** Which site answers TLS for a name on the PASSTHROUGH port; null: the connection is closed. */
  readonly tlsSite: (name: string) => Promise<string | null>
  /** Which site answers bytes on the TCP port; null: closed. */
  readonly tcpSite: () => Promise<string | null>
  readonly harness: Harness
}

/** Sites `a` and `b` say their names first, over TLS (443) and in plain bytes (RAW). */
async function world(t: TestContext, rules: (sites: Sites) => readonly Manifest[]): Promise<World> {
  const pki = await createTestPki()
  const speak = async (name: string, names: readonly string[]): Promise<readonly [RawOrigin, RawOrigin]> => {
    const onConnection = ({ socket }: { readonly socket: Socket }) => void socket.write(name)
    const { cert, key } = await pki.serverCert(names[0] ?? name, { dns: names })
    const both = await Promise.all([
      startRawOrigin({ tls: { cert, key }, onConnection }),
      startRawOrigin({ onConnection }),
    ])
    for (const each of both) t.after(() => each.close())
    return both
  }
  const names = [CNN, 'x.wild.example', 'other.example', 'sub.example']
  const [[aTls, aRaw], [bTls, bRaw]] = await Promise.all([speak('a', names), speak('b', names)])
  const sites: Sites = { a: { tls: aTls.port, raw: aRaw.port }, b: { tls: bTls.port, raw: bRaw.port } }
  const entries = (['a', 'b'] as const).flatMap((name) => [
    serviceEntry(`${name}-tls`, `${name}.example`, sites[name].tls, { port: 443, protocol: 'TLS' }),
    serviceEntry(`${name}-tcp`, `${name}-tcp.example`, sites[name].raw, { port: RAW, protocol: 'TCP' }),
  ])
  const text = documents(tunnelGateway(), ...entries, ...rules(sites))
  const harness = await started(t, { pki, spec: { ports: PORTS }, resources: { 'all.yaml': text } })
  const first = async (socket: Socket): Promise<string | null> => {
    const [chunk] = (await Promise.race(['data', 'end', 'close'].map((name) => once(socket, name)))) as [unknown]
    socket.destroy()
    return Buffer.isBuffer(chunk) ? chunk.toString() : null
  }
  return {
    pki,
    tlsSite: async (name) => {
      const below = await plainConnect(harness.gateway.port(PASS))
      try {
        return await first(await application(harness, below, name))
      } catch {
        return null
      }
    },
    tcpSite: async () => first(await rawTunnel(harness)),
    harness,
  }
}

type Sites = Readonly<Record<'a' | 'b', { readonly tls: number; readonly raw: number }>>

const tls = (match: object, host: string, port = PASS) => ({ match: [{ port, ...match }], route: to(host, 443) })
const tcp = (match: object | null, host: string) => ({
  ...(match === null ? {} : { match: [match] }),
  route: to(host, RAW),
})

test('field VirtualService.tls[].match[].sniHosts, VirtualService.tls[].route[].destination.host: by the name that the application asks for', async (t) => {
  const { tlsSite } = await world(t, () => [
    l4Service('v', CNN, {
      hosts: [CNN, '*.wild.example'],
      tls: [tls({ sniHosts: [CNN] }, 'a.example'), tls({ sniHosts: ['*.wild.example'] }, 'b.example')],
    }),
  ])
  assert.equal(await tlsSite(CNN), 'a')
  assert.equal(await tlsSite('x.wild.example'), 'b')
  assert.equal(await tlsSite('other.example'), null)
})

test('field VirtualService.tls[].match[].port: of the Gateway server', async (t) => {
  const { tlsSite } = await world(t, () => [
    l4Service('v', CNN, { tls: [tls({ sniHosts: [CNN] }, 'a.example', 7), tls({ sniHosts: [CNN] }, 'b.example')] }),
  ])
  assert.equal(await tlsSite(CNN), 'b')
})

test('field VirtualService.tls[].match[].gateways: which of the Gateways that gateways names', async (t) => {
  const gateways = (name: string) => ({ sniHosts: [CNN], gateways: [name] })
  const { tlsSite } = await world(t, () => [
    l4Service('v', CNN, {
      tls: [tls(gateways('mesh'), 'a.example'), tls(gateways('istio-system/egress'), 'b.example')],
    }),
  ])
  assert.equal(await tlsSite(CNN), 'b')
})

test('field VirtualService.tls[].route[].weight: relative shares, 0 is none', async (t) => {
  const weighted = (host: string, weight: number) => ({ ...to(host, 443)[0], weight })
  const rule = (sni: string, a: number, b: number) => ({
    match: [{ port: PASS, sniHosts: [sni] }],
    route: [weighted('a.example', a), weighted('b.example', b)],
  })
  const hosts = [CNN, 'other.example']
  const { tlsSite } = await world(t, () => [
    l4Service('v', CNN, { hosts, tls: [rule(CNN, 1, 1), rule('other.example', 0, 1)] }),
  ])
  const seen = new Set<string | null>()
  // Both within 40: all but once in 10¹².
  for (let i = 0; i < 40; i += 1) seen.add(await tlsSite(CNN))
  assert.deepEqual([...seen].map(String).toSorted(), ['a', 'b'])
  for (let i = 0; i < 5; i += 1) assert.equal(await tlsSite('other.example'), 'b')
})

test('field VirtualService.tls[].route[].destination.subset, VirtualService.tcp[].route[].destination.subset: its endpoints alone', async (t) => {
  const subset = (version: string, port: number) => ({
    route: [{ destination: { host: 'sub.example', subset: version, port: { number: port } } }],
  })
  const { tlsSite, tcpSite } = await world(t, ({ a, b }) => {
    const endpoint = (site: { readonly tls: number; readonly raw: number }, version: string) => ({
      address: '127.0.0.1',
      ports: { t: site.tls, r: site.raw },
      labels: { version },
    })
    const ports = [
      { number: 443, name: 't', protocol: 'TLS' },
      { number: RAW, name: 'r', protocol: 'TCP' },
    ]
    const subsets = ['v1', 'v2'].map((version) => ({ name: version, labels: { version } }))
    return [
      serviceEntry('sub', 'sub.example', 0, { spec: { ports, endpoints: [endpoint(a, 'v1'), endpoint(b, 'v2')] } }),
      { ...destinationRule('sub', 'sub.example', {}), spec: { host: 'sub.example', subsets } },
      l4Service('v', CNN, {
        tls: [{ match: [{ port: PASS, sniHosts: [CNN] }], ...subset('v2', 443) }],
        tcp: [{ match: [{ port: RAW }], ...subset('v1', RAW) }],
      }),
    ]
  })
  for (let i = 0; i < 4; i += 1) {
    assert.equal(await tlsSite(CNN), 'b')
    assert.equal(await tcpSite(), 'a')
  }
})

test('field VirtualService.tls[].route[].destination.port.number, VirtualService.tcp[].route[].destination.port.number: that port of several', async (t) => {
  const { tlsSite, tcpSite } = await world(t, ({ a, b }) => {
    const ports = [
      { number: 1, name: 'a-tls', protocol: 'TLS', targetPort: a.tls },
      { number: 2, name: 'b-tls', protocol: 'TLS', targetPort: b.tls },
      { number: 3, name: 'a-tcp', protocol: 'TCP', targetPort: a.raw },
      { number: 4, name: 'b-tcp', protocol: 'TCP', targetPort: b.raw },
    ]
    return [
      serviceEntry('ports', 'ports.example', 0, { spec: { ports } }),
      l4Service('v', CNN, {
        tls: [{ match: [{ port: PASS, sniHosts: [CNN] }], route: to('ports.example', 2) }],
        tcp: [{ match: [{ port: RAW }], route: to('ports.example', 3) }],
      }),
    ]
  })
  assert.equal(await tlsSite(CNN), 'b')
  assert.equal(await tcpSite(), 'a')
})

test('field VirtualService.tcp[].match[].port, VirtualService.tcp[].route[].destination.host: the first rule that concerns the server', async (t) => {
  const { tcpSite } = await world(t, () => [
    l4Service('v', CNN, {
      tcp: [tcp({ port: 7 }, 'a-tcp.example'), tcp({ port: RAW }, 'b-tcp.example'), tcp(null, 'a-tcp.example')],
    }),
  ])
  assert.equal(await tcpSite(), 'b')
})

test('field VirtualService.tcp[].match[].gateways: which of the Gateways that gateways names', async (t) => {
  const { tcpSite } = await world(t, () => [
    l4Service('v', CNN, {
      tcp: [tcp({ gateways: ['mesh'] }, 'a-tcp.example'), tcp({ gateways: ['egress'] }, 'b-tcp.example')],
    }),
  ])
  assert.equal(await tcpSite(), 'b')
})

test('field VirtualService.tcp[].match, VirtualService.tcp[].route[].weight: without a match every connection; shares', async (t) => {
  const weighted = (host: string, weight: number) => ({ ...to(host, RAW)[0], weight })
  const route = [weighted('a-tcp.example', 0), weighted('b-tcp.example', 2)]
  const { tcpSite } = await world(t, () => [
    l4Service('v', CNN, { tcp: [tcp({ gateways: ['mesh'] }, 'a-tcp.example'), { route }] }),
  ])
  for (let i = 0; i < 8; i += 1) assert.equal(await tcpSite(), 'b')
})

test('field VirtualService.tls[].match[].sourceLabels, VirtualService.tls[].match[].sourceNamespace, VirtualService.tls[].match[].sourceSubnet, VirtualService.tls[].match[].destinationSubnets, VirtualService.tcp[].match[].sourceLabels, VirtualService.tcp[].match[].sourceNamespace, VirtualService.tcp[].match[].sourceSubnet, VirtualService.tcp[].match[].destinationSubnets: no effect at a gateway, and told so', async (t) => {
  const nowhere = {
    sourceLabels: { app: 'x' },
    sourceNamespace: 'elsewhere',
    sourceSubnet: '192.0.2.0/24',
    destinationSubnets: ['192.0.2.0/24'],
  }
  const { tlsSite, tcpSite, harness } = await world(t, () => [
    l4Service('v', CNN, {
      tls: [tls({ sniHosts: [CNN], ...nowhere }, 'a.example')],
      tcp: [tcp({ port: RAW, ...nowhere }, 'b-tcp.example')],
    }),
  ])
  assert.equal(await tlsSite(CNN), 'a')
  assert.equal(await tcpSite(), 'b')
  assert.equal((await told(harness, 'SP4011', 8)).length, 8)
})
