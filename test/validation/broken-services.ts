/** TABLE of mistakes in ServiceEntries and WorkloadEntries. */
import type { Broken } from './edit.ts'

type Says = readonly [code: Broken[6], severity?: Broken[5]]

/** An edit of the page's entry of walk-through 001 (resolution DNS). */
function dns(mistake: string, from: string, to: string, ...[code, severity = 'error']: Says): Broken {
  return [mistake, 'seed-001', 'service-entry.yaml', from, to, severity, code]
}

/** An edit of the entry with endpoints (resolution STATIC). */
function fixed(mistake: string, from: string, to: string, ...[code, severity = 'error']: Says): Broken {
  return [mistake, 'seed-001', 'added.yaml', from, to, severity, code]
}

const HEAD =
  '---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: { name: w, namespace: istio-system }\n'
/** A WorkloadEntry behind the page's entry. */
function workload(mistake: string, spec: string, ...says: Says): Broken {
  return dns(mistake, '  resolution: DNS\n', `  resolution: DNS\n${HEAD}${spec}\n`, ...says)
}

const HOSTS_AND_PORTS =
  '  hosts:\n    - www.aliyun.com\n  location: MESH_EXTERNAL\n  ports:\n    - name: http\n      number: 80\n      protocol: HTTP\n    - name: tls\n      number: 443\n      protocol: TLS\n'
const RESOLUTION = '  resolution: DNS'

export const BROKEN_SERVICES: readonly Broken[] = [
  dns('a bare star', '    - www.aliyun.com', '    - ▸"*"', 'SP7000'),
  dns('a star in the middle', '    - www.aliyun.com', '    - ▸www.*.com', 'SP7000'),
  dns('a host with a port', '    - www.aliyun.com', '    - ▸www.aliyun.com:443', 'SP7000'),
  dns('a host with a scheme', '    - www.aliyun.com', '    - ▸https://www.aliyun.com', 'SP7000'),
  dns('a host with an underscore', '    - www.aliyun.com', '    - ▸www_aliyun.com', 'SP7000'),
  dns('no hosts', '  hosts:\n    - www.aliyun.com', '  ▸hosts: []', 'SP1000'),
  dns('a short name', '    - www.aliyun.com', '    - ▸aliyun', 'SP7017', 'warning'),
  dns('a port of 0', 'number: 443', 'number: ▸0', 'SP1000'),
  dns('a port above 65535', 'number: 443', 'number: ▸70000', 'SP1000'),
  dns('a port twice', 'number: 443', 'number: ▸80', 'SP7000'),
  dns('a port name twice', 'name: tls', 'name: ▸http', 'SP7000'),
  dns('a port name with a blank', 'name: tls', 'name: ▸my port', 'SP7000'),
  dns('a port without a name', '    - name: tls\n      number: 443', '    - ▸number: 443', 'SP1033'),
  dns('a protocol that is none', 'protocol: TLS', 'protocol: ▸TSL', 'SP7000'),
  dns('a resolution that is none', 'resolution: DNS', 'resolution: ▸DNSS', 'SP1000'),
  dns('a location that is none', 'location: MESH_EXTERNAL', 'location: ▸EXTERNAL', 'SP1000'),
  dns(
    'several hosts on a port of opaque bytes',
    '    - www.aliyun.com\n  location: MESH_EXTERNAL\n  ports:\n    - name: http\n      number: 80\n      protocol: HTTP',
    '    - www.aliyun.com\n    - aliyun.com\n  ports:\n    - ▸name: http\n      number: 80\n      protocol: TCP',
    'SP7000',
  ),
  dns(
    'DYNAMIC_DNS for an exact host',
    `${HOSTS_AND_PORTS}  resolution: DNS`,
    `${HOSTS_AND_PORTS.replace('hosts', '▸hosts')}  resolution: DYNAMIC_DNS`,
    'SP7000',
  ),
  dns('a virtual address that is none', RESOLUTION, `${RESOLUTION}\n  addresses: [▸10.0.0.256]`, 'SP7000'),
  dns('a block of virtual addresses with DNS', RESOLUTION, `${RESOLUTION}\n  addresses: [▸10.0.0.0/24]`, 'SP7000'),
  dns('exportTo with a namespace and everybody', RESOLUTION, `${RESOLUTION}\n  ▸exportTo: ["*", default]`, 'SP7000'),
  dns(
    'endpoints and a workloadSelector',
    RESOLUTION,
    `${RESOLUTION}\n  endpoints: [{ address: a.com }]\n  ▸workloadSelector: { labels: { a: b } }`,
    'SP7000',
  ),
  dns('an endpoint without an address', RESOLUTION, `${RESOLUTION}\n  endpoints: [▸{ weight: 1 }]`, 'SP7000'),
  dns(
    'an endpoint’s port that the entry does not name',
    RESOLUTION,
    `${RESOLUTION}\n  endpoints: [{ address: a.com, ports: { https: ▸1 } }]`,
    'SP7000',
  ),
  dns('a Unix socket with DNS', RESOLUTION, `${RESOLUTION}\n  endpoints: [{ address: ▸"unix:///tmp/a" }]`, 'SP7000'),
  dns(
    'several endpoints with DNS_ROUND_ROBIN',
    RESOLUTION,
    '  resolution: DNS_ROUND_ROBIN\n  ▸endpoints: [{ address: a.com }, { address: b.com }]',
    'SP7000',
  ),
  dns('endpoints with NONE', RESOLUTION, '  resolution: NONE\n  ▸endpoints: [{ address: a.com }]', 'SP7000'),
  dns('an unknown field', RESOLUTION, `${RESOLUTION}\n  ▸port: 80`, 'SP1030', 'warning'),
  fixed('a name as a STATIC endpoint', 'address: 127.0.0.1', 'address: ▸www.aliyun.com', 'SP7000'),
  fixed('an endpoint’s port above 65535', 'http: 9080', 'http: ▸90800', 'SP1000'),
  fixed('an endpoint’s port that is a list', '      ports:\n        http: 9080', '      ▸ports: [9080]', 'SP1000'),
  fixed(
    'a label that is none',
    '      ports:\n        http: 9080',
    '      ports: { http: 9080 }\n      labels: { "a b": ▸c }',
    'SP7000',
  ),
  fixed(
    'a negative weight',
    '      ports:\n        http: 9080',
    '      ports: { http: 9080 }\n      weight: ▸-1',
    'SP1000',
  ),
  fixed(
    'a network',
    '      ports:\n        http: 9080',
    '      ports: { http: 9080 }\n      network: ▸net-2',
    'SP1034',
    'warning',
  ),
  fixed(
    'STATIC without endpoints',
    '  resolution: STATIC\n  endpoints:\n    - address: 127.0.0.1\n      ports:\n        http: 9080\n',
    '  resolution: STATIC\n  ▸endpoints: []\n',
    'SP7013',
    'warning',
  ),
  fixed(
    'NONE for a gateway',
    '  resolution: STATIC\n  endpoints:\n    - address: 127.0.0.1\n      ports:\n        http: 9080\n',
    '  resolution: ▸NONE\n',
    'SP7004',
    'warning',
  ),
  fixed(
    'NONE and a workloadSelector',
    '  resolution: STATIC\n  endpoints:\n    - address: 127.0.0.1\n      ports:\n        http: 9080\n',
    '  resolution: NONE\n  ▸workloadSelector: { labels: { a: b } }\n',
    'SP7024',
    'warning',
  ),
  workload(
    'a WorkloadEntry with a port that no name is',
    'spec: { address: 10.0.0.1, ports: { "a b": ▸1 } }',
    'SP7000',
  ),
  workload('a WorkloadEntry without an address', '▸spec: { weight: 1 }', 'SP7000'),
  workload('a WorkloadEntry with an address that is none', 'spec: { address: ▸"10.0.0.300" }', 'SP7000'),
  workload('a WorkloadEntry with a relative Unix socket', 'spec: { address: ▸"unix://tmp/a" }', 'SP7000'),
  workload(
    'a WorkloadEntry with a port that is a word',
    'spec: { address: 10.0.0.1, ports: { http: ▸web } }',
    'SP1000',
  ),
]
