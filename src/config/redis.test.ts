/** spec.redis: what it means, and what contradicts itself, at its place; never with a password in the message. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import test, { type TestContext } from 'node:test'
import { redact } from '../observe/redact.ts'
import { readBootstrap } from './bootstrap.ts'
import { formatDiagnostic } from './diagnostics.ts'
import { collectDiagnostics } from './report.ts'

function read(t: TestContext, redis: string) {
  const directory = mkdtempSync(path.join(tmpdir(), 'sallyport-redis-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  const file = path.join(directory, 'gateway.yaml')
  const head = 'apiVersion: sallyport.dev/v1\nkind: EgressGateway\nmetadata: {name: gate, namespace: mesh}\nspec:\n'
  writeFileSync(file, `${head}  redis: ${redis}\n`)
  const { report, sorted } = collectDiagnostics()
  const { settings } = readBootstrap(file, { display: () => 'gateway.yaml' }, report)
  return { settings, directory, findings: sorted().map(formatDiagnostic) }
}

test('one server: defaults, and everything that can be said', (t) => {
  const small = read(t, '{url: "redis://cache.example"}')
  assert.deepEqual(small.findings, [])
  assert.deepEqual(small.settings?.redis, {
    mode: 'standalone',
    nodes: [{ host: 'cache.example', port: 6379 }],
    master: null,
    db: 0,
    username: null,
    password: null,
    passwordFile: null,
    sentinelUsername: null,
    sentinelPasswordFile: null,
    tls: null,
    keyPrefix: 'sallyport',
    timeoutMs: 20,
    connectTimeoutMs: 1000,
    breaker: { failures: 3, probeIntervalMs: 250 },
    leases: { max: 50, share: 2, ttlMs: 1000 },
  })
  const whole = read(
    t,
    '{url: "rediss://user@[fd00::1]:6380/3", passwordFile: secret, tls: {ca: ca.pem, cert: c.pem, key: k.pem, serverName: r}, keyPrefix: "a:b", timeout: 5ms, breaker: {failures: 1}}',
  )
  assert.deepEqual(whole.findings, [])
  const { directory, settings } = whole
  const file = (name: string) => path.join(directory, name)
  const redis = settings?.redis
  assert.deepEqual(redis?.nodes, [{ host: 'fd00::1', port: 6380 }])
  assert.deepEqual([redis?.db, redis?.username, redis?.passwordFile, redis?.timeoutMs], [3, 'user', file('secret'), 5])
  assert.deepEqual(redis?.tls, { ca: file('ca.pem'), cert: file('c.pem'), key: file('k.pem'), serverName: 'r' })
})

test('Sentinels and a Cluster, with TLS turned on by an empty map', (t) => {
  const sentinel = read(t, '{sentinel: {master: m, nodes: [a, "b:1"], passwordFile: s}, tls: {}}')
  assert.deepEqual(sentinel.findings, [])
  const { redis } = sentinel.settings ?? {}
  assert.deepEqual(
    [redis?.mode, redis?.master, redis?.nodes],
    [
      'sentinel',
      'm',
      [
        { host: 'a', port: 26_379 },
        { host: 'b', port: 1 },
      ],
    ],
  )
  assert.deepEqual(redis?.tls, { ca: null, cert: null, key: null, serverName: null })
  const cluster = read(t, '{cluster: {nodes: [10.0.0.1, "[fd00::1]:7000"]}}')
  assert.deepEqual(cluster.findings, [])
  assert.deepEqual(cluster.settings?.redis?.nodes, [
    { host: '10.0.0.1', port: 6379 },
    { host: 'fd00::1', port: 7000 },
  ])
})

test('a password in the url works, is warned of, and is nowhere to be seen', (t) => {
  const { findings, settings } = read(t, '{url: "redis://:ge%2Fheim@cache"}')
  assert.deepEqual(findings, [
    'gateway.yaml:5:16 warning SP8102 a password stands in the bootstrap file → put it into a file of its own and name that in spec.redis.passwordFile',
  ])
  assert.equal(settings?.redis?.password, 'ge/heim')
  assert.doesNotMatch(JSON.stringify(redact(settings)), /heim/)
})

/** TABLE: what is written → the finding. */
const REFUSED: readonly (readonly [text: string, finding: RegExp])[] = [
  [
    '{}',
    /^gateway\.yaml:5:\d+ error SP8100 spec\.redis names no server → write exactly one of url, sentinel and cluster$/,
  ],
  [
    '{url: "redis://a", cluster: {nodes: [a]}}',
    /5:\d+ error SP8100 spec\.redis has url and cluster: which one counts\?/,
  ],
  ['{url: "http://a"}', /5:\d+ error SP1000 spec\.redis\.url must be redis:\/\/HOST:PORT\/DB/],
  ['{url: "redis://a:b:c"}', /SP1000 spec\.redis\.url/],
  ['{url: "redis://a?db=1"}', /SP1000 spec\.redis\.url/],
  ['{url: "redis://a/x"}', /SP1000 spec\.redis\.url/],
  ['{url: "redis://u:geheim@a:99999"}', /SP1000 spec\.redis\.url/],
  [
    '{url: "redis://a", tls: {ca: x}}',
    /5:\d+ error SP8101 spec\.redis has tls, but its url is redis:\/\/, which is plaintext/,
  ],
  ['{url: "rediss://a", tls: {cert: x}}', /SP8101 spec\.redis\.tls has one of cert and key/],
  ['{url: "redis://a/1", db: 2}', /SP8101 spec\.redis\.db is not the one in spec\.redis\.url/],
  ['{url: "redis://u@a", username: v}', /SP8101 spec\.redis\.username is not the one/],
  ['{url: "redis://:geheim@a", passwordFile: x}', /SP8101 spec\.redis has a password in its url and a passwordFile/],
  ['{cluster: {nodes: [a]}, db: 1}', /SP8101 a Redis Cluster has only database 0/],
  ['{cluster: {nodes: []}}', /SP1000 spec\.redis\.cluster\.nodes/],
  ['{sentinel: {nodes: [a]}}', /SP1033 spec\.redis\.sentinel\.master is required/],
  ['{sentinel: {master: m, nodes: ["geheim@a"]}}', /SP1000 spec\.redis\.sentinel\.nodes\[0\] must be HOST/],
  ['{url: "redis://a", timeout: 0s}', /SP1000 spec\.redis\.timeout must be 1ms to 1s/],
  ['{url: "redis://a", keyPrefix: "{a}"}', /SP1000 spec\.redis\.keyPrefix/],
  ['{url: "redis://a", leases: {share: 101}}', /SP1000 spec\.redis\.leases\.share/],
  ['{url: "redis://a", password: geheim}', /SP1030 .*password/],
]

for (const [text, finding] of REFUSED) {
  test(`refused: ${text}`, (t) => {
    const { findings, settings } = read(t, text)
    assert.equal(settings, null)
    assert.match(findings.join('\n').replaceAll(': must', ' must'), finding)
    assert.doesNotMatch(findings.join('\n'), /geheim/)
  })
}
