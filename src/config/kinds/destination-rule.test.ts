import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { checkFindings } from '../../testing/resources.ts'
import { destinationRule } from './destination-rule.ts'

const withTls = (tls: object) => ({ host: 'a.example.com', trafficPolicy: { tls } })
const TLS = 'spec.trafficPolicy.tls'
const files = { clientCertificate: '/c', privateKey: '/k' }

describe('DestinationRule: tls', () => {
  const rows: [string, object, string[]][] = [
    ['SIMPLE', { mode: 'SIMPLE', sni: 'a.example.com', caCertificates: 'system' }, []],
    ['mode by number', { mode: 1 }, []],
    ['no mode is DISABLE', { sni: 'a.example.com' }, [`SP7010 ${TLS}`]],
    ['MUTUAL with files', { mode: 'MUTUAL', ...files }, []],
    ['MUTUAL with a secret', { mode: 'MUTUAL', credentialName: 'client' }, []],
    ['MUTUAL without key', { mode: 'MUTUAL', clientCertificate: '/c' }, [`SP7000 ${TLS}.privateKey`]],
    [
      'MUTUAL with both',
      { mode: 'MUTUAL', ...files, credentialName: 'client' },
      [`SP7000 ${TLS}.clientCertificate`, `SP7000 ${TLS}.privateKey`],
    ],
    [
      'SIMPLE with a CA twice',
      { mode: 'SIMPLE', caCertificates: '/ca', credentialName: 'ca' },
      [`SP7000 ${TLS}.caCertificates`],
    ],
    ['ISTIO_MUTUAL', { mode: 'ISTIO_MUTUAL', sni: 'x' }, []],
    [
      'ISTIO_MUTUAL with a file',
      { mode: 'ISTIO_MUTUAL', ...files },
      [`SP7000 ${TLS}.clientCertificate`, `SP7000 ${TLS}.privateKey`],
    ],
    [
      'no verification, but a CA',
      { mode: 'SIMPLE', insecureSkipVerify: true, caCertificates: '/ca' },
      [`SP7000 ${TLS}.caCertificates`],
    ],
    [
      'no verification, but names',
      { mode: 'MUTUAL', ...files, insecureSkipVerify: true, subjectAltNames: ['a'] },
      [`SP7000 ${TLS}.subjectAltNames`],
    ],
  ]
  for (const [name, tls, expected] of rows)
    test(name, () => assert.deepEqual(checkFindings(destinationRule, withTls(tls)), expected))

  test('port-level and subset blocks are checked too', () => {
    const tls = { mode: 'MUTUAL', clientCertificate: '/c' }
    const spec = {
      host: 'a.b',
      trafficPolicy: { portLevelSettings: [{ port: { number: 443 }, tls }] },
      subsets: [{ name: 'v1', trafficPolicy: { tls } }],
    }
    assert.deepEqual(checkFindings(destinationRule, spec), [
      'SP7000 spec.subsets.0.trafficPolicy.tls.privateKey',
      'SP7000 spec.trafficPolicy.portLevelSettings.0.tls.privateKey',
    ])
  })
})

describe('DestinationRule: the rest', () => {
  const rows: [string, object, string[]][] = [
    ['every host', { host: '*' }, []],
    ['bad host', { host: 'a:80' }, ['SP7000 spec.host']],
    ['exportTo', { host: 'a.b', exportTo: ['*', '.'] }, ['SP7000 spec.exportTo']],
    [
      'selector exported',
      { host: 'a.b', exportTo: ['*'], workloadSelector: { matchLabels: { app: 'x' } } },
      ['SP7000 spec.exportTo'],
    ],
    [
      'two balancers',
      { host: 'a.b', trafficPolicy: { loadBalancer: { simple: 'RANDOM', consistentHash: { useSourceIp: true } } } },
      ['SP7000 spec.trafficPolicy.loadBalancer'],
    ],
    [
      'no time to connect',
      { host: 'a.b', trafficPolicy: { connectionPool: { tcp: { connectTimeout: '0s' } } } },
      ['SP7000 spec.trafficPolicy.connectionPool.tcp.connectTimeout'],
    ],
    [
      'port twice',
      {
        host: 'a.b',
        trafficPolicy: {
          portLevelSettings: [
            { port: { number: 1 }, tls: { mode: 'SIMPLE' } },
            { port: { number: 1 }, tls: { mode: 'SIMPLE' } },
          ],
        },
      },
      ['SP7000 spec.trafficPolicy.portLevelSettings.1.port.number'],
    ],
    [
      'a port about which nothing is said',
      { host: 'a.b', trafficPolicy: { portLevelSettings: [{ port: { number: 1 } }] } },
      ['SP7000 spec.trafficPolicy.portLevelSettings.0'],
    ],
    ['an empty policy', { host: 'a.b', trafficPolicy: {} }, ['SP7000 spec.trafficPolicy']],
    ['a subset with the name of a path', { host: 'a.b', subsets: [{ name: 'v|1' }] }, ['SP7000 spec.subsets.0.name']],
    [
      'a subset with an impossible label',
      { host: 'a.b', subsets: [{ name: 'v1', labels: { 'a b': 'c' } }] },
      ['SP7000 spec.subsets.0.labels.a b'],
    ],
    ['a selector of everything', { host: 'a.b', workloadSelector: {} }, ['SP7024 spec.workloadSelector']],
    [
      'a selector with a wildcard',
      { host: 'a.b', workloadSelector: { matchLabels: { app: '*' } } },
      ['SP7000 spec.workloadSelector.matchLabels.app'],
    ],
    ['subset twice', { host: 'a.b', subsets: [{ name: 'v1' }, { name: 'v1' }] }, ['SP7000 spec.subsets.1.name']],
  ]
  for (const [name, spec, expected] of rows)
    test(name, () => assert.deepEqual(checkFindings(destinationRule, spec), expected))

  test('negative and excessive numbers are no numbers', () => {
    for (const trafficPolicy of [
      { connectionPool: { tcp: { maxConnections: -1 } } },
      { connectionPool: { http: { http1MaxPendingRequests: -1 } } },
      { connectionPool: { http: { maxRetries: 0x80000000 } } },
      { outlierDetection: { maxEjectionPercent: 101 } },
      { outlierDetection: { minHealthPercent: -1 } },
      { loadBalancer: { warmup: { duration: '1s', minimumPercent: 101 } } },
      { loadBalancer: { warmup: {} } },
      { tunnel: { targetHost: 'a.b', targetPort: 0 } },
      { proxyProtocol: { version: 'V3' } },
      { retryBudget: { percent: 101 } },
    ])
      assert.equal(destinationRule.schema.safeParse({ host: 'a.b', trafficPolicy }).success, false)
  })
  test('what is not done is a warning, in every place where a policy can stand', () => {
    const paths = destinationRule.unsupported.map(({ path }) => path)
    for (const prefix of ['spec.trafficPolicy', 'spec.subsets[].trafficPolicy'])
      for (const level of ['', '.portLevelSettings[]'])
        assert.ok(paths.includes(`${prefix}${level}.loadBalancer.consistentHash.httpCookie.attributes`))
    assert.ok(destinationRule.unsupported.every(({ severity }) => severity === 'warning'))
  })
})

describe("DestinationRule: Istio's rules for pools, ejection, tunnels", () => {
  const POOL = 'spec.trafficPolicy.connectionPool'
  const OUT = 'spec.trafficPolicy.outlierDetection'
  const rows: [string, object, string[]][] = [
    ['a pool of nothing', { connectionPool: {} }, [`SP7000 ${POOL}`]],
    [
      'times below a millisecond',
      {
        connectionPool: {
          tcp: { maxConnectionDuration: '0s', idleTimeout: '0.5ms', tcpKeepalive: { time: '0s', interval: '1.5ms' } },
          http: { idleTimeout: '0s' },
        },
      },
      [
        `SP7000 ${POOL}.http.idleTimeout`,
        `SP7000 ${POOL}.tcp.idleTimeout`,
        `SP7000 ${POOL}.tcp.maxConnectionDuration`,
        `SP7000 ${POOL}.tcp.tcpKeepalive.interval`,
        `SP7000 ${POOL}.tcp.tcpKeepalive.time`,
      ],
    ],
    ['no idle time-out for TCP', { connectionPool: { tcp: { idleTimeout: '0s' } } }, []],
    [
      'an upgrade and the protocol of the caller',
      { connectionPool: { http: { h2UpgradePolicy: 'UPGRADE', useClientProtocol: true } } },
      [`SP7000 ${POOL}.http.useClientProtocol`],
    ],
    [
      'PINGs without a time-out',
      { connectionPool: { http: { http2KeepAlive: { interval: '10s' } } } },
      [`SP7000 ${POOL}.http.http2KeepAlive.timeout`],
    ],
    [
      'local origin failures that are not told apart',
      { outlierDetection: { consecutiveLocalOriginFailures: 3 } },
      [`SP7000 ${OUT}.consecutiveLocalOriginFailures`],
    ],
    ['the old count', { outlierDetection: { consecutiveErrors: 3 } }, [`SP7023 ${OUT}.consecutiveErrors`]],
    ['no interval', { outlierDetection: { interval: '0s' } }, [`SP7000 ${OUT}.interval`]],
    [
      'a tunnel of an unknown kind to nowhere',
      { tunnel: { protocol: 'PUT', targetHost: '*.a.b', targetPort: 443 } },
      ['SP7000 spec.trafficPolicy.tunnel.protocol', 'SP7000 spec.trafficPolicy.tunnel.targetHost'],
    ],
    [
      'a tunnel and a PROXY header',
      { tunnel: { targetHost: '192.0.2.1', targetPort: 443 }, proxyProtocol: { version: 'V2' } },
      ['SP7000 spec.trafficPolicy.proxyProtocol'],
    ],
  ]
  for (const [name, trafficPolicy, expected] of rows)
    test(name, () => assert.deepEqual(checkFindings(destinationRule, { host: 'a.b', trafficPolicy }), expected))
})

describe("DestinationRule: Istio's rules for load balancers", () => {
  const LB = 'spec.trafficPolicy.loadBalancer'
  const HASH = `${LB}.consistentHash`
  const key = { useSourceIp: true }
  const rows: [string, object, string[]][] = [
    ['no key', { consistentHash: { ringHash: {} } }, [`SP7000 ${HASH}`]],
    ['a key that is off', { consistentHash: { useSourceIp: false } }, [`SP7000 ${HASH}`]],
    ['two keys', { consistentHash: { ...key, httpHeaderName: 'x' } }, [`SP7000 ${HASH}`]],
    ['one key', { consistentHash: { httpCookie: { name: 'c', ttl: '0s' } } }, []],
    [
      'a cookie that would break the header',
      { consistentHash: { httpCookie: { name: 'c;d', path: '/;x', ttl: '0s' } } },
      [`SP7000 ${HASH}.httpCookie.name`, `SP7000 ${HASH}.httpCookie.path`],
    ],
    ['ring and table', { consistentHash: { ...key, ringHash: {}, maglev: {} } }, [`SP7000 ${HASH}.maglev`]],
    [
      'the old ring size, beside a table',
      { consistentHash: { ...key, minimumRingSize: 10, maglev: {} } },
      [`SP7000 ${HASH}.minimumRingSize`, `SP7023 ${HASH}.minimumRingSize`],
    ],
    [
      'a table of no prime size',
      { consistentHash: { ...key, maglev: { tableSize: 9 } } },
      [`SP7000 ${HASH}.maglev.tableSize`],
    ],
    [
      'a table of an even size',
      { consistentHash: { ...key, maglev: { tableSize: 8 } } },
      [`SP7000 ${HASH}.maglev.tableSize`],
    ],
    ['a table of prime size', { consistentHash: { ...key, maglev: { tableSize: 101 } } }, []],
    ['the largest table', { consistentHash: { ...key, maglev: { tableSize: 5_000_011 } } }, []],
    [
      'a table that is too large',
      { consistentHash: { ...key, maglev: { tableSize: 5_000_077 } } },
      [`SP7000 ${HASH}.maglev.tableSize`],
    ],
    ['warm-up', { warmup: { duration: '10s', minimumPercent: 0, aggression: 1 } }, []],
    [
      'warm-up without time and upside down',
      { warmup: { duration: '0s', aggression: 0.5 } },
      [`SP7000 ${LB}.warmup.aggression`, `SP7000 ${LB}.warmup.duration`],
    ],
    ['warm-up, the old way', { warmupDurationSecs: '10s' }, [`SP7023 ${LB}.warmupDurationSecs`]],
    ['warm-up at random', { simple: 'RANDOM', warmup: { duration: '10s' } }, [`SP7024 ${LB}`]],
  ]
  for (const [name, loadBalancer, expected] of rows)
    test(name, () =>
      assert.deepEqual(checkFindings(destinationRule, { host: 'a.b', trafficPolicy: { loadBalancer } }), expected),
    )

  const LOCALITY = `${LB}.localityLbSetting`
  const localities: [string, object, string[]][] = [
    ['weights', { distribute: [{ from: 'eu/*', to: { 'eu/a': 70, 'eu/*': 30 } }] }, []],
    [
      'weights that do not add up',
      { distribute: [{ from: 'eu', to: { eu: 50, us: 40 } }] },
      [`SP7000 ${LOCALITY}.distribute.0.to`],
    ],
    ['no weight', { distribute: [{ from: 'eu', to: { eu: 100, us: 0 } }] }, [`SP7000 ${LOCALITY}.distribute.0.to.us`]],
    [
      'a star in the middle, and a zone without a region',
      { distribute: [{ from: 'eu/*/x', to: { eu: 99, '/a': 1 } }] },
      [`SP7000 ${LOCALITY}.distribute.0`, `SP7000 ${LOCALITY}.distribute.0.to./a`],
    ],
    [
      'places that overlap',
      {
        distribute: [
          { from: 'eu/a', to: { eu: 50, 'eu/a': 50 } },
          { from: 'eu', to: { eu: 100 } },
        ],
      },
      [`SP7000 ${LOCALITY}.distribute.0.to.eu/a`, `SP7000 ${LOCALITY}.distribute.1`],
    ],
    [
      'weights and fail-over',
      { distribute: [{ from: 'eu', to: { eu: 100 } }], failover: [{ from: 'eu', to: 'us' }] },
      [`SP7000 ${LOCALITY}.failover`],
    ],
    [
      'fail-over to itself, to a zone, to anywhere',
      {
        failover: [
          { from: 'eu', to: 'eu' },
          { from: 'eu/a', to: 'us' },
          { from: 'as', to: '*' },
        ],
      },
      [0, 1, 2].map((i) => `SP7000 ${LOCALITY}.failover.${i}`),
    ],
    [
      'fail-over by region twice',
      { failover: [{ from: 'eu', to: 'us' }], failoverPriority: ['topology.kubernetes.io/region'] },
      [`SP7000 ${LOCALITY}.failoverPriority.0`],
    ],
  ]
  for (const [name, localityLbSetting, expected] of localities)
    test(name, () =>
      assert.deepEqual(
        checkFindings(destinationRule, { host: 'a.b', trafficPolicy: { loadBalancer: { localityLbSetting } } }),
        expected,
      ),
    )
})
