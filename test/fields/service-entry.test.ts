/** ServiceEntry: every field, by which site answers (behaviour §2). */
import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import { type DnsServer, startDnsServer } from '../../src/testing/dns-server.ts'
import { type Manifest, serviceEntry } from '../integration/manifests.ts'
import { freePort } from '../integration/operator.ts'
import { endpoint, inNamespace, routeTo, startAddresses, startOutside, startSites } from './outside.ts'
import { told } from './route-site.ts'
import { createAuthorities, tlsWorld } from './tls-world.ts'

const HOST = 'site.example'

describe('which hosts and ports there are', () => {
  it('field ServiceEntry.hosts: each is known; others are not', async (t) => {
    const sites = await startSites(t, ['site'])
    const hosts = [HOST, 'second.example', '*.wild.example']
    const entry = serviceEntry('site', HOST, 80, { spec: { hosts, endpoints: [endpoint(sites, 'site')] } })
    const outside = await startOutside(t, [entry, routeTo(HOST), routeTo('second.example'), routeTo('*.wild.example')])
    for (const host of [HOST, 'second.example', 'a.wild.example'])
      assert.deepEqual([host, (await outside.call(host)).site], [host, 'site'])
    assert.equal((await outside.call('third.example')).status, 502)
  })

  it('field ServiceEntry.ports[].number, ServiceEntry.ports[].targetPort: the number names the service, the target is dialled', async (t) => {
    const sites = await startSites(t, ['one', 'two'])
    const [one = 0, two = 0] = ['one', 'two'].map((name) => sites[name]?.port)
    const ports = [
      { number: 80, name: 'a', protocol: 'HTTP', targetPort: one },
      { number: two, name: 'b', protocol: 'HTTP' },
    ]
    const entry = serviceEntry('site', HOST, 80, { spec: { ports } })
    const outside = await startOutside(t, [entry, routeTo(HOST)])
    const first = await outside.call(HOST)
    assert.deepEqual([first.site, first.line['upstream_cluster']], ['one', `outbound|80||${HOST}`])
    assert.equal(first.line['upstream_host'], `127.0.0.1:${one}`)
    await outside.become([entry, routeTo(HOST, null, two)])
    assert.equal((await outside.call(HOST)).site, 'two')
    await outside.become([entry, routeTo(HOST, null, 81)])
    const unknown = await outside.call(HOST)
    assert.deepEqual([unknown.status, unknown.line['response_flags']], [503, 'NC'])
  })

  it('field ServiceEntry.exportTo: an entry that does not reach the gateway registers nothing', async (t) => {
    const sites = await startSites(t, ['site'])
    const spec = { endpoints: [endpoint(sites, 'site')] }
    const entry = (exportTo: readonly string[]) =>
      inNamespace('services', serviceEntry('site', HOST, 80, { spec: { ...spec, exportTo } }))
    const outside = await startOutside(t, [entry(['*'])])
    // Without a route of its own a registered host has none to go by, an unregistered one is not known at all.
    const status = async (...exportTo: string[]) => {
      await outside.become([entry(exportTo)])
      return (await outside.call(HOST)).status
    }
    assert.equal(await status('*'), 404)
    assert.equal(await status('istio-system'), 404)
    assert.equal(await status('.'), 502)
    assert.equal(await status('~'), 502)
    assert.equal(await status('elsewhere'), 502)
    const routed = async (...exportTo: string[]) => {
      await outside.become([entry(exportTo), routeTo(HOST)])
      const { site, line } = await outside.call(HOST)
      return site ?? line['response_flags']
    }
    assert.equal(await routed('istio-system'), 'site')
    assert.equal(await routed('.'), 'NC')
  })

  it('field ServiceEntry.ports: entries for one host add up by port; for one port the first by name speaks', async (t) => {
    const sites = await startSites(t, ['a', 'b'])
    const entry = (name: string, numbers: readonly number[]) => {
      const ports = numbers.map((number) => ({
        number,
        name: `p${number}`,
        protocol: 'HTTP',
        targetPort: sites[name]?.port,
      }))
      return serviceEntry(name, HOST, 80, { spec: { ports } })
    }
    const entries = [entry('b', [80, 81]), entry('a', [80])]
    const outside = await startOutside(t, [...entries, routeTo(HOST)])
    assert.equal((await outside.call(HOST)).site, 'a')
    await outside.become([...entries, routeTo(HOST, null, 81)])
    assert.equal((await outside.call(HOST)).site, 'b')
  })

  it('field ServiceEntry.location: headers of the mesh stay inside it', async (t) => {
    const sites = await startSites(t, ['site'])
    const entry = (location?: string): Manifest =>
      serviceEntry('site', HOST, 80, { spec: { location, endpoints: [endpoint(sites, 'site')] } })
    const outside = await startOutside(t, [entry(), routeTo(HOST)])
    const forwarded = async (location?: string) => {
      await outside.become([entry(location), routeTo(HOST)])
      const { answer } = await outside.call(HOST, '/headers')
      const names = Object.keys((JSON.parse(answer.body) as { headers: object }).headers)
      return names.some((name) => name.toLowerCase() === 'x-forwarded-proto')
    }
    assert.equal(await forwarded(), false)
    assert.equal(await forwarded('MESH_EXTERNAL'), false)
    assert.equal(await forwarded('MESH_INTERNAL'), true)
  })
})

describe('endpoints', () => {
  it('field ServiceEntry.endpoints[].address, ServiceEntry.endpoints[].ports: where each is, port by port', async (t) => {
    const port = await startAddresses(t, ['127.0.0.1', '127.0.0.2'])
    const sites = await startSites(t, ['named'])
    const entry = (endpoints: readonly object[]) => serviceEntry('site', HOST, port, { spec: { endpoints } })
    const outside = await startOutside(t, [entry([{ address: '127.0.0.2' }]), routeTo(HOST)])
    assert.equal((await outside.call(HOST)).site, '127.0.0.2')
    await outside.become([entry([{ address: '127.0.0.1' }]), routeTo(HOST)])
    assert.equal((await outside.call(HOST)).site, '127.0.0.1')
    await outside.become([entry([endpoint(sites, 'named')]), routeTo(HOST)])
    assert.equal((await outside.call(HOST)).site, 'named')
  })

  it('field ServiceEntry.endpoints[].weight: shares of the requests', async (t) => {
    const sites = await startSites(t, ['light', 'heavy'])
    const endpoints = [endpoint(sites, 'light'), endpoint(sites, 'heavy', { weight: 4 })]
    const balancer: Manifest = {
      apiVersion: 'networking.istio.io/v1',
      kind: 'DestinationRule',
      metadata: { name: 'site', namespace: 'istio-system' },
      spec: { host: HOST, trafficPolicy: { loadBalancer: { simple: 'ROUND_ROBIN' } } },
    }
    const outside = await startOutside(t, [
      serviceEntry('site', HOST, 80, { spec: { endpoints } }),
      balancer,
      routeTo(HOST),
    ])
    assert.deepEqual(await outside.tally(HOST, 25), { light: 5, heavy: 20 })
  })

  it('field ServiceEntry.endpoints[].serviceAccount: the identity that ISTIO_MUTUAL expects', async (t) => {
    const authorities = await createAuthorities()
    const account = (serviceAccount: string) => ({ serviceAccount })
    const certificate = await authorities.mesh.svid('istio-system/site')
    const spec = { location: 'MESH_INTERNAL' }
    const right = await tlsWorld(t, authorities, { certificate, spec, endpoint: account('site') })
    assert.equal(await right.under({ mode: 'ISTIO_MUTUAL' }), 200)
    const wrong = await tlsWorld(t, authorities, { certificate, spec, endpoint: account('other') })
    assert.match(String(await wrong.under({ mode: 'ISTIO_MUTUAL' })), /ALTNAME/)
  })

  it('field ServiceEntry.subjectAltNames: names of the server where the rule has none', async (t) => {
    const authorities = await createAuthorities()
    const certificate = await authorities.outside.serverCert('other.example')
    const spec = { subjectAltNames: ['other.example'] }
    const named = await tlsWorld(t, authorities, { certificate, spec })
    assert.equal(await named.under({ mode: 'SIMPLE', caCertificates: named.ca }), 200)
    const overruled = { mode: 'SIMPLE', caCertificates: named.ca, subjectAltNames: [HOST] }
    assert.match(String(await named.under(overruled)), /ALTNAME/)
    const unnamed = await tlsWorld(t, authorities, { certificate })
    assert.match(String(await unnamed.under({ mode: 'SIMPLE', caCertificates: unnamed.ca })), /ALTNAME/)
  })

  it('field ServiceEntry.addresses: virtual addresses are for sidecars; nothing is dialled there', async (t) => {
    const port = await startAddresses(t, ['127.0.0.1', '127.0.0.2'])
    const spec = { addresses: ['127.0.0.2'], endpoints: [{ address: '127.0.0.1' }] }
    const outside = await startOutside(t, [serviceEntry('site', HOST, port, { spec }), routeTo(HOST)])
    assert.equal((await outside.call(HOST)).site, '127.0.0.1')
    assert.equal((await outside.call('127.0.0.2')).status, 502)
  })
})

describe('resolution', () => {
  const names: Readonly<Record<string, readonly string[]>> = {
    [HOST]: ['127.0.0.1', '127.0.0.2'],
    'lb.example': ['127.0.0.3'],
    'a.wild.example': ['127.0.0.2'],
    'b.wild.example': ['127.0.0.3'],
  }

  /** A gateway that may dial loopback, a DNS server that knows the names, and a site per address. */
  async function resolving(t: TestContext) {
    const dns: DnsServer = await startDnsServer(({ name, type }) => {
      const addresses = type === 'A' ? (names[name] ?? []) : []
      return names[name] === undefined ? { kind: 'rcode', code: 'NXDOMAIN' } : { kind: 'answer', addresses, ttl: 60 }
    })
    t.after(() => dns.close())
    const port = await startAddresses(t, ['127.0.0.1', '127.0.0.2', '127.0.0.3'])
    const spec = { dns: { servers: [dns.address] }, addressGuard: { allow: ['127.0.0.0/8'] } }
    const outside = await startOutside(t, [], { spec })
    const entry = (resolution: string, more: object = {}) =>
      serviceEntry('site', HOST, port, { resolution, spec: more })
    const answering = async (host: string, count = 40) => Object.keys(await outside.tally(host, count)).sort()
    return { outside, dns, entry, answering }
  }

  it('field ServiceEntry.resolution: DNS takes every address of the host, or of its endpoints', async (t) => {
    const { outside, entry, answering } = await resolving(t)
    await outside.become([entry('DNS'), routeTo(HOST)])
    assert.deepEqual(await answering(HOST), ['127.0.0.1', '127.0.0.2'])
    await outside.become([entry('DNS', { endpoints: [{ address: 'lb.example' }] }), routeTo(HOST)])
    assert.deepEqual(await answering(HOST, 6), ['127.0.0.3'])
  })

  it('field ServiceEntry.resolution: DNS_ROUND_ROBIN takes the first address', async (t) => {
    const { outside, entry, answering } = await resolving(t)
    await outside.become([entry('DNS_ROUND_ROBIN'), routeTo(HOST)])
    assert.deepEqual(await answering(HOST, 12), ['127.0.0.1'])
    await outside.become([entry('DNS_ROUND_ROBIN', { endpoints: [{ address: 'lb.example' }] }), routeTo(HOST)])
    assert.deepEqual(await answering(HOST, 6), ['127.0.0.3'])
  })

  it('field ServiceEntry.resolution: DYNAMIC_DNS resolves the name that is asked for', async (t) => {
    const { outside, entry, answering } = await resolving(t)
    const wild = '*.wild.example'
    for (const resolution of ['DYNAMIC_DNS', 'DNS', 'NONE']) {
      await outside.become([entry(resolution, { hosts: [wild] }), routeTo(wild)])
      assert.deepEqual(await answering('a.wild.example', 3), ['127.0.0.2'], resolution)
      assert.deepEqual(await answering('b.wild.example', 3), ['127.0.0.3'], resolution)
    }
    const unknown = await outside.call('c.wild.example')
    assert.deepEqual([unknown.status, unknown.line['response_flags']], [503, 'DF'])
  })

  it('field ServiceEntry.resolution: STATIC resolves nothing, NONE the host itself, after a warning', async (t) => {
    const { outside, dns, entry, answering } = await resolving(t)
    await outside.become([entry('STATIC', { endpoints: [{ address: '127.0.0.3' }] }), routeTo(HOST)])
    assert.deepEqual(await answering(HOST, 3), ['127.0.0.3'])
    assert.deepEqual(dns.questions, [])
    await outside.become([entry('NONE'), routeTo(HOST)])
    assert.deepEqual(await answering(HOST), ['127.0.0.1', '127.0.0.2'])
    await told(outside.harness, 'SP7004', 1)
  })
})

it('field ServiceEntry.ports[].name: what an endpoint’s ports go by', async (t) => {
  const sites = await startSites(t, ['one', 'two'])
  const nowhere = await freePort()
  const spec = (first: string, second: string) => ({
    ports: [
      { number: 80, name: first, protocol: 'HTTP', targetPort: nowhere },
      { number: 81, name: second, protocol: 'HTTP', targetPort: nowhere },
    ],
    endpoints: [{ address: '127.0.0.1', ports: { x: sites['one']?.port, y: sites['two']?.port } }],
  })
  const entry = (first: string, second: string) => serviceEntry('site', HOST, 80, { spec: spec(first, second) })
  const outside = await startOutside(t, [entry('x', 'y'), routeTo(HOST)])
  assert.equal((await outside.call(HOST)).site, 'one')
  await outside.become([entry('y', 'x'), routeTo(HOST)])
  assert.equal((await outside.call(HOST)).site, 'two')
})
