/** TABLE of mistakes in DestinationRules. */
import type { Broken } from './edit.ts'

type Says = readonly [code: Broken[6], severity?: Broken[5]]
const HEAD = '  host: httpbin.org\n  trafficPolicy:\n'

/** An edit of walk-through 000's first DestinationRule; `from` stands once in its head. */
function dr(mistake: string, from: string, to: string, ...[code, severity = 'error']: Says): Broken {
  return [mistake, 'seed-000-upgrade', 'added.yaml', from, to, severity, code]
}

/** More in its traffic policy. */
function policy(mistake: string, lines: string, ...says: Says): Broken {
  return dr(mistake, HEAD, `${HEAD}    ${lines}\n`, ...says)
}

const tls = (mistake: string, block: string, ...says: Says) => policy(mistake, `tls: ${block}`, ...says)
const balancer = (mistake: string, block: string, ...says: Says) => policy(mistake, `loadBalancer: ${block}`, ...says)
const pool = (mistake: string, block: string, ...says: Says) => policy(mistake, `connectionPool: ${block}`, ...says)

const SUBSETS = '  host: httpbin.org\n'
const subsets = (mistake: string, list: string, ...says: Says) =>
  dr(mistake, SUBSETS, `${SUBSETS}  subsets: ${list}\n`, ...says)

export const BROKEN_TRAFFIC: readonly Broken[] = [
  dr('no host', `spec:\n${HEAD}`, '▸spec:\n  trafficPolicy:\n', 'SP1033'),
  dr('a host with a port', HEAD, HEAD.replace('httpbin.org', '▸httpbin.org:443'), 'SP7000'),
  dr(
    'a policy that says nothing',
    HEAD,
    '  host: httpbin.org\n  subsets: [{ name: a, ▸trafficPolicy: {} }]\n  trafficPolicy:\n',
    'SP7000',
  ),
  dr('exportTo its own namespace twice', SUBSETS, `${SUBSETS}  ▸exportTo: [., istio-egress]\n`, 'SP7000'),
  dr('exportTo that is none', SUBSETS, `${SUBSETS}  ▸exportTo: [Default]\n`, 'SP7000'),
  subsets('a subset without a name', '[▸{ labels: { a: b } }]', 'SP1033'),
  subsets('a subset’s name with a blank', '[{ name: ▸"a b" }]', 'SP7000'),
  subsets('a subset twice', '[{ name: a }, { name: ▸a }]', 'SP7000'),
  subsets('a subset’s label that is none', '[{ name: a, labels: { a: ▸"b c" } }]', 'SP7000'),
  // tls
  tls('an unknown field', '{ mode: SIMPLE, ▸caCertificate: /ca.pem }', 'SP1030'),
  tls('a mode that is none', '{ mode: ▸TLS }', 'SP1000'),
  policy('no mode', '▸tls: { sni: a.com }', 'SP7010', 'warning'),
  policy('MUTUAL without a key', '▸tls: { mode: MUTUAL, clientCertificate: /c.pem }', 'SP7000'),
  tls('ISTIO_MUTUAL with files', '{ mode: ISTIO_MUTUAL, caCertificates: ▸/ca.pem }', 'SP7000'),
  tls('a secret and files', '{ mode: SIMPLE, credentialName: a, caCertificates: ▸/ca.pem }', 'SP7000'),
  tls('a CA that is not looked at', '{ mode: SIMPLE, insecureSkipVerify: true, caCertificates: ▸/ca.pem }', 'SP7000'),
  tls(
    'names that are not looked at',
    '{ mode: SIMPLE, insecureSkipVerify: true, ▸subjectAltNames: [a.com] }',
    'SP7000',
  ),
  tls('an empty name', '{ mode: SIMPLE, subjectAltNames: [▸""] }', 'SP1000'),
  tls('a flag that is text', '{ mode: SIMPLE, insecureSkipVerify: ▸"true" }', 'SP1000'),
  dr(
    'tls without a value',
    `${HEAD}    portLevelSettings:\n      - port:\n          number: 443\n        tls:\n          mode: SIMPLE\n          caCertificates: /etc/certs/outside.pem\n---`,
    '  host: httpbin.org\n  ▹trafficPolicy:\n    ▸tls:\n---',
    'SP1032',
  ),
  // Load balancing
  balancer('a way that is none', '{ simple: ▸ROUNDROBIN }', 'SP1000'),
  policy('two ways', '▸loadBalancer: { simple: RANDOM, consistentHash: { useSourceIp: true } }', 'SP7000'),
  balancer('a hash of nothing', '{ ▸consistentHash: {} }', 'SP7000'),
  balancer('a hash of two things', '{ ▸consistentHash: { useSourceIp: true, httpHeaderName: x-a } }', 'SP7000'),
  balancer(
    'a table whose size is no prime',
    '{ consistentHash: { useSourceIp: true, maglev: { tableSize: ▸65536 } } }',
    'SP7000',
  ),
  balancer('a cookie’s name with a blank', '{ consistentHash: { httpCookie: { name: ▸"a b" } } }', 'SP7000'),
  balancer(
    'shares that do not add up',
    '{ localityLbSetting: { distribute: [{ from: a/*, ▸to: { b/*: 50 } }] } }',
    'SP7000',
  ),
  balancer(
    'shares and fail-over',
    '{ localityLbSetting: { distribute: [{ from: a, to: { b: 100 } }], ▸failover: [{ from: a, to: b }] } }',
    'SP7000',
  ),
  balancer('fail-over to itself', '{ localityLbSetting: { failover: [▸{ from: a, to: a }] } }', 'SP7000'),
  balancer('a warm-up that ages', '{ warmup: { duration: 1s, aggression: ▸0.5 } }', 'SP7000'),
  balancer('a warm-up without a duration', '{ ▸warmup: { aggression: 1 } }', 'SP1033'),
  balancer('a deprecated field', '{ warmupDurationSecs: ▸10s }', 'SP7023', 'warning'),
  [
    'PASSTHROUGH',
    'seed-000',
    'added.yaml',
    HEAD,
    `${HEAD}    loadBalancer: { simple: ▸PASSTHROUGH }\n`,
    'warning',
    'SP7014',
  ],
  // Pools and ejection
  policy('a pool of nothing', '▸connectionPool: {}', 'SP7000'),
  pool('a negative limit', '{ tcp: { maxConnections: ▸-1 } }', 'SP1000'),
  pool('a time below a millisecond', '{ tcp: { connectTimeout: ▸1us } }', 'SP7000'),
  pool('a policy of upgrades that is none', '{ http: { h2UpgradePolicy: ▸ALWAYS } }', 'SP1000'),
  pool('two ways to choose the protocol', '{ http: { h2UpgradePolicy: UPGRADE, useClientProtocol: ▸true } }', 'SP7000'),
  pool('PINGs without a timeout', '{ http: { ▸http2KeepAlive: { interval: 1s } } }', 'SP7000'),
  policy('a share of ejections above 100', 'outlierDetection: { maxEjectionPercent: ▸101 }', 'SP1000'),
  policy('failures counted apart, but not split', 'outlierDetection: { consecutiveLocalOriginFailures: ▸3 }', 'SP7000'),
  policy('a deprecated count', 'outlierDetection: { consecutiveErrors: ▸3 }', 'SP7023', 'warning'),
  policy('a tunnel without a target', '▸tunnel: { protocol: CONNECT, targetPort: 443 }', 'SP1033'),
  policy('a tunnel by another method', 'tunnel: { protocol: ▸PUT, targetHost: a.com, targetPort: 443 }', 'SP7000'),
  policy(
    'a tunnel and a PROXY header',
    'tunnel: { targetHost: a.com, targetPort: 443 }\n    ▸proxyProtocol: { version: V2 }',
    'SP7000',
  ),
  policy('a version of the PROXY header that is none', 'proxyProtocol: { version: ▸V3 }', 'SP1000'),
  policy('a budget above 100 percent', 'retryBudget: { percent: ▸120 }', 'SP1000'),
  dr(
    'a port twice',
    `${HEAD}    portLevelSettings:\n      - port:\n          number: 443`,
    `${HEAD}    portLevelSettings:\n      - { port: { number: 443 }, tls: { mode: SIMPLE } }\n      - port:\n          number: ▸443`,
    'SP7000',
  ),
  dr(
    'a port of 0',
    `${HEAD}    portLevelSettings:`,
    `${HEAD}    portLevelSettings:\n      - port: { number: ▸0 }\n        tls: { mode: SIMPLE }`,
    'SP1000',
  ),
  dr(
    'a port’s settings that say nothing',
    `${HEAD}    portLevelSettings:`,
    `${HEAD}    portLevelSettings:\n      - ▸port: { number: 80 }`,
    'SP7000',
  ),
]
