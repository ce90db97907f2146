import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { checkFindings } from '../../testing/resources.ts'
import { serviceEntry } from './service-entry.ts'
import { workloadEntry } from './workload-entry.ts'

const http = { number: 80, name: 'http', protocol: 'HTTP' }
const base = { hosts: ['a.example.com'], ports: [http], resolution: 'DNS' }
const endpoint = { address: '192.0.2.1' }

describe('ServiceEntry: structure', () => {
  test('quoted integers, enums by number and case-free protocols are read', () => {
    const spec = serviceEntry.schema.parse({
      hosts: ['a.b'],
      location: 1,
      resolution: '2',
      ports: [{ number: '443', name: 'x', protocol: 'https', targetPort: '8443' }],
    })
    assert.equal(spec.location, 'MESH_INTERNAL')
    assert.equal(spec.resolution, 'DNS')
    assert.deepEqual(spec.ports, [{ number: 443, name: 'x', protocol: 'https', targetPort: 8443 }])
    assert.deepEqual(checkFindings(serviceEntry, spec), [])
  })
  test('missing hosts, no hosts, ports out of range and unknown enums fail', () => {
    for (const spec of [
      {},
      { hosts: [] },
      { hosts: [''] },
      { ...base, ports: [{ ...http, number: 0 }] },
      { ...base, ports: [{ ...http, number: 65536 }] },
      { ...base, ports: [{ number: 80 }] },
      { ...base, resolution: 'LOGICAL' },
      { ...base, resolution: 9 },
      { ...base, location: 'OUTSIDE' },
    ])
      assert.equal(serviceEntry.schema.safeParse(spec).success, false, JSON.stringify(spec))
  })
})

describe("ServiceEntry: Istio's rules", () => {
  const rows: [string, object, string[]][] = [
    ['a plain external host', base, []],
    ['wildcard, resolved by requested name', { ...base, hosts: ['*.example.com'] }, []],
    ['bare wildcard', { ...base, hosts: ['*'] }, ['SP7000 spec.hosts.0']],
    ['short name', { ...base, hosts: ['httpbin'] }, ['SP7017 spec.hosts.0']],
    ['duplicate port name', { ...base, ports: [http, { ...http, number: 81 }] }, ['SP7000 spec.ports.1.name']],
    ['duplicate port', { ...base, ports: [http, { ...http, name: 'b' }] }, ['SP7000 spec.ports.1.number']],
    ['unknown protocol', { ...base, ports: [{ ...http, protocol: 'SPDY' }] }, ['SP7000 spec.ports.0.protocol']],
    ['no protocol', { ...base, ports: [{ number: 80, name: 'x' }] }, []],
    [
      'several hosts on a TCP port',
      { ...base, hosts: ['a.b', 'c.d'], ports: [{ ...http, protocol: 'TCP' }] },
      ['SP7000 spec.ports.0'],
    ],
    [
      'selector and endpoints',
      { ...base, endpoints: [endpoint], workloadSelector: { labels: { app: 'x' } } },
      ['SP7000 spec.workloadSelector'],
    ],
    ['selector of everything', { ...base, workloadSelector: {} }, ['SP7024 spec.workloadSelector']],
    [
      'selector with a wildcard',
      { ...base, workloadSelector: { labels: { app: '*' } } },
      ['SP7000 spec.workloadSelector.labels.app'],
    ],
    [
      'selector of requested names',
      { ...base, hosts: ['*.a.b'], resolution: 'DYNAMIC_DNS', workloadSelector: { labels: { app: 'x' } } },
      ['SP7000 spec.workloadSelector'],
    ],
    ['port without a proper name', { ...base, ports: [{ ...http, name: 'My Port' }] }, ['SP7000 spec.ports.0.name']],
    [
      'label that is none',
      { ...base, endpoints: [{ ...endpoint, labels: { app: 'a b' } }] },
      ['SP7000 spec.endpoints.0.labels.app'],
    ],
    [
      'socket for two ports',
      {
        ...base,
        resolution: 'STATIC',
        ports: [http, { number: 81, name: 'b', protocol: 'HTTP' }],
        endpoints: [{ address: 'unix:///s' }],
      },
      ['SP7000 spec.endpoints.0.address'],
    ],
    ['exportTo nobody and somebody', { ...base, exportTo: ['~', 'a'] }, ['SP7000 spec.exportTo']],
    ['CIDR with DNS', { ...base, addresses: ['192.0.2.0/24'] }, ['SP7000 spec.addresses.0']],
    ['CIDR with STATIC', { ...base, resolution: 'STATIC', endpoints: [endpoint], addresses: ['192.0.2.0/24'] }, []],
    ['bad address', { ...base, addresses: ['300.1.1.1'] }, ['SP7000 spec.addresses.0']],
    ['bad prefix', { ...base, resolution: 'NONE', addresses: ['192.0.2.0/33'] }, ['SP7000 spec.addresses.0']],
    ['NONE with endpoints', { ...base, resolution: 'NONE', endpoints: [endpoint] }, ['SP7000 spec.endpoints']],
    ['no resolution is NONE', { hosts: ['a.b'], endpoints: [endpoint] }, ['SP7000 spec.endpoints']],
    [
      'STATIC with a name',
      { ...base, resolution: 'STATIC', endpoints: [{ address: 'lb.example.com' }] },
      ['SP7000 spec.endpoints.0.address'],
    ],
    ['DNS with a name', { ...base, endpoints: [{ address: 'lb.example.com' }, endpoint] }, []],
    ['DNS with a wildcard endpoint', { ...base, endpoints: [{ address: '*.b' }] }, ['SP7000 spec.endpoints.0.address']],
    ['endpoint without address', { ...base, endpoints: [{}] }, ['SP7000 spec.endpoints.0.address']],
    ['DNS with a socket', { ...base, endpoints: [{ address: 'unix:///s' }] }, ['SP7000 spec.endpoints.0.address']],
    [
      'STATIC with a relative socket',
      { ...base, resolution: 'STATIC', endpoints: [{ address: 'unix://s' }] },
      ['SP7000 spec.endpoints.0.address'],
    ],
    [
      'port of an endpoint that the entry lacks',
      { ...base, endpoints: [{ ...endpoint, ports: { https: 8443 } }] },
      ['SP7000 spec.endpoints.0.ports.https'],
    ],
    [
      'DNS_ROUND_ROBIN with two endpoints',
      { ...base, resolution: 'DNS_ROUND_ROBIN', endpoints: [endpoint, endpoint] },
      ['SP7000 spec.endpoints'],
    ],
    [
      'DNS_ROUND_ROBIN with a wildcard alone',
      { ...base, hosts: ['*.a.b'], resolution: 'DNS_ROUND_ROBIN' },
      ['SP7000 spec.hosts'],
    ],
    ['DYNAMIC_DNS', { ...base, hosts: ['*.a.b'], resolution: 'DYNAMIC_DNS' }, []],
    ['DYNAMIC_DNS with a name', { ...base, resolution: 'DYNAMIC_DNS' }, ['SP7000 spec.hosts']],
    [
      'DYNAMIC_DNS inside the mesh, on TCP, with endpoints',
      {
        hosts: ['*.a.b'],
        resolution: 'DYNAMIC_DNS',
        location: 'MESH_INTERNAL',
        endpoints: [endpoint],
        ports: [{ ...http, protocol: 'TCP' }],
      },
      ['SP7000 spec.location', 'SP7000 spec.ports.0.protocol', 'SP7000 spec.resolution'],
    ],
  ]
  for (const [name, spec, expected] of rows)
    test(name, () => assert.deepEqual(checkFindings(serviceEntry, spec), expected))
})

test('WorkloadEntry: an address of its own', () => {
  assert.deepEqual(checkFindings(workloadEntry, { address: '192.0.2.7', ports: { http: '80' }, weight: '3' }), [])
  assert.deepEqual(checkFindings(workloadEntry, { address: 'vm.example.com' }), [])
  assert.deepEqual(checkFindings(workloadEntry, {}), ['SP7000 spec.address'])
  assert.deepEqual(checkFindings(workloadEntry, { address: 'a b' }), ['SP7000 spec.address'])
  assert.deepEqual(checkFindings(workloadEntry, { address: 'unix:///s', ports: { a: 1 } }), ['SP7000 spec.ports'])
})
