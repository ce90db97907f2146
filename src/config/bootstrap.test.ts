/** Contract §2: defaults, closed schema, and every field either effective or refused by name. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import test, { type TestContext } from 'node:test'
import { type CheckAccessLogFormat, readBootstrap } from './bootstrap.ts'
import { formatDiagnostic } from './diagnostics.ts'
import { collectDiagnostics } from './report.ts'

const HEAD = `apiVersion: sallyport.dev/v1
kind: EgressGateway
metadata:
  name: istio-egressgateway
  namespace: istio-system
spec:
  resources: [./resources, more.yaml]
  identity: {certificateChain: certs/chain.pem, privateKey: certs/key.pem, trustBundle: /root.pem}
`

function read(t: TestContext, text: string, checkAccessLogFormat?: CheckAccessLogFormat) {
  const directory = mkdtempSync(path.join(tmpdir(), 'sallyport-bootstrap-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  const file = path.join(directory, 'gateway.yaml')
  writeFileSync(file, text)
  const { report, sorted } = collectDiagnostics()
  const bootstrap = readBootstrap(file, { display: () => 'gateway.yaml', checkAccessLogFormat }, report)
  return { ...bootstrap, directory, findings: sorted().map(formatDiagnostic) }
}

test('the smallest file: every default of contract §2, paths relative to the file', (t) => {
  const { settings, findings, directory, resourcePaths } = read(t, HEAD)
  assert.deepEqual(findings, [])
  assert.deepEqual(resourcePaths, [path.join(directory, 'resources'), path.join(directory, 'more.yaml')])
  assert.deepEqual(settings, {
    name: 'istio-egressgateway',
    namespace: 'istio-system',
    labels: {},
    mesh: {
      rootNamespace: 'istio-system',
      trustDomain: 'cluster.local',
      trustDomainAliases: [],
      outboundTrafficPolicy: 'REGISTRY_ONLY',
      accessLogFile: '/dev/stdout',
      accessLogEncoding: 'JSON',
      accessLogFormat: '',
      pathNormalization: 'BASE',
      connectTimeoutMs: 10_000,
      extensionProviders: [],
      defaultProviders: { accessLogging: [], metrics: ['prometheus'], tracing: [] },
      enableTracing: true,
      defaultTracing: { sampling: null, customTags: [], enableIstioTags: null },
    },
    identity: {
      certificateChain: path.join(directory, 'certs/chain.pem'),
      privateKey: path.join(directory, 'certs/key.pem'),
      trustBundle: '/root.pem',
    },
    secretsDirectory: '/etc/sallyport/secrets',
    stateDirectory: null,
    bindAddress: '0.0.0.0',
    unauthenticatedPassthrough: 'deny',
    ports: [],
    drainDurationMs: 30_000,
    admin: { address: '127.0.0.1', port: 15000 },
    metrics: { address: '0.0.0.0', port: 15090 },
    health: { address: '0.0.0.0', port: 15021 },
    accessLog: { jsonStyle: 'typed' },
    tracing: { propagate: true },
    audit: null,
    tunnels: { idleTimeoutMs: 3_600_000, maxDurationMs: 0 },
    dns: { servers: [], minTtlMs: 1_000, maxTtlMs: 300_000, staleForMs: 600_000 },
    addressGuard: { allow: [] },
    http: {
      engine: 'wire',
      maxHeaderBytes: 61_440,
      maxHeaders: 100,
      headersTimeoutMs: 10_000,
      idleTimeoutMs: 3_600_000,
      maxConnections: 0,
    },
    redis: null,
  })
})

test('every documented default may be written out, and every field that is built takes effect', (t) => {
  const text = `${HEAD}  meshConfig:
    rootNamespace: mesh
    trustDomain: example.org
    trustDomainAliases: [old.example.org]
    outboundTrafficPolicy: { mode: ALLOW_ANY }
    accessLogFile: ""
    accessLogEncoding: TEXT
    accessLogFormat: "%PROTOCOL%"
    pathNormalization: { normalization: MERGE_SLASHES }
    connectTimeout: 1m30s
    extensionProviders: []
  secretsDirectory: secrets
  bindAddress: "::"
  unauthenticatedPassthrough: allow
  ports: { 80: 8080, "443": 0, 444: 0 }
  concurrency: 1
  drainDuration: 5s
  admin: { address: "::1", port: 0 }
  tracing: { propagate: false }
  tunnels: { idleTimeout: 0s, maxDuration: 24h }
  dns: { servers: [10.0.0.53, "10.0.0.54:5353", "[fd00::53]:53"], minTtl: 0s, maxTtl: 1m, staleFor: 0s }
  addressGuard: { allow: [10.0.0.0/8, "fd00::/8", 192.0.2.1] }
  http:
    engine: http-proxy
    limits: { maxHeaderBytes: 8192, maxHeaders: "20", headersTimeout: 2s, idleTimeout: 1m, maxConnections: 7 }
  redis: null
`
  const { settings, findings, directory } = read(t, text)
  assert.deepEqual(findings, [])
  assert.ok(settings !== null)
  assert.deepEqual(settings.ports, [
    { gatewayPort: 80, bindPort: 8080 },
    { gatewayPort: 443, bindPort: 0 },
    { gatewayPort: 444, bindPort: 0 },
  ])
  assert.equal(settings.mesh.outboundTrafficPolicy, 'ALLOW_ANY')
  assert.equal(settings.mesh.accessLogFile, '')
  assert.equal(settings.mesh.connectTimeoutMs, 90_000)
  assert.equal(settings.mesh.pathNormalization, 'MERGE_SLASHES')
  assert.deepEqual(settings.mesh.trustDomainAliases, ['old.example.org'])
  assert.equal(settings.secretsDirectory, path.join(directory, 'secrets'))
  assert.deepEqual(settings.dns.servers, ['10.0.0.53', '10.0.0.54:5353', '[fd00::53]:53'])
  assert.deepEqual(settings.admin, { address: '::1', port: 0 })
  assert.equal(settings.http.engine, 'http-proxy')
  assert.equal(settings.http.maxHeaders, 20)
  assert.equal(settings.http.maxConnections, 7)
  assert.equal(settings.tracing.propagate, false)
  assert.equal(settings.unauthenticatedPassthrough, 'allow')
  assert.deepEqual(settings.tunnels, { idleTimeoutMs: 0, maxDurationMs: 86_400_000 })
})

/** What is added below `spec`, and the finding it gives. */
const REFUSED: readonly [lines: string, finding: RegExp][] = [
  ['concurrency: 2', /9:16 error SP1041 spec\.concurrency: worker processes are not built yet/],
  ['concurrency: 0', /SP1041 spec\.concurrency/],
  ['meshConfig: {extensionProviders: [{name: x}]}', /SP8300 extension provider x has no provider/],
  ['audit: {path: /dev/stderr}', /9:17 error SP1000 spec\.audit\.path must be \/dev\/stdout or a file/],
  ['audit: {}', /SP1033 spec\.audit\.path is required/],
  ['audit: {path: /a}\n  meshConfig: {accessLogFile: /a}', /SP8503 \/a is the access log already/],
  [
    'meshConfig: {extensionProviders: [{name: x, opentelemetry: {service: a.b, port: 4317}}]}',
    /error SP8500 provider x: OTLP over gRPC is not built → write http/,
  ],
  [
    'meshConfig: {extensionProviders: [{name: x, opentelemetry: {service: a.b, port: 1, http: {headers: [{name: a}]}}}]}',
    /SP8500 provider x: the header a needs value or envName/,
  ],
  [
    'meshConfig: {extensionProviders: [{name: x, opentelemetry: {service: a.b, port: 1, http: {headers: [{name: Host, value: a}]}}}]}',
    /SP8500 provider x: the header Host cannot be sent/,
  ],
  [
    'meshConfig: {extensionProviders: [{name: x, zipkin: {service: 169.254.169.254, port: 9411}}]}',
    /SP8301 service "169\.254\.169\.254" is a metadata address/,
  ],
  [
    'meshConfig: {defaultConfig: {tracing: {sampling: 101}}}',
    /SP1000 spec\.meshConfig\.defaultConfig\.tracing\.sampling/,
  ],
  ['meshConfig: {defaultConfig: {tracing: {zipkin: {address: a}}}}', /SP1030 unknown key "zipkin"/],
  ['tunnels: {idleTimeout: 900h}', /SP1000 spec\.tunnels\.idleTimeout: must be at most/],
  ['tunnels: {maxDuration: -1s}', /SP1000 spec\.tunnels\.maxDuration/],
  ['unauthenticatedPassthrough: maybe', /SP1000 spec\.unauthenticatedPassthrough: expected one of deny, allow/],
  ['http: {engine: nginx}', /SP1000 spec\.http\.engine: expected one of wire, http-proxy, found "nginx"/],
  ['drainDuraton: 5s', /9:3 error SP1030 unknown key "drainDuraton" in spec → did you mean drainDuration\?/],
  ['drain_duration: 5s', /9:3 error SP1030 unknown key "drain_duration" in spec → did you mean drainDuration\?/],
  ['drainDuration: 5 seconds', /9:18 error SP1000 spec\.drainDuration: not a duration/],
  ['drainDuration: 900h', /SP1000 spec\.drainDuration: must be at most/],
  ['meshConfig: {connectTimeout: 0s}', /SP1000 spec\.meshConfig\.connectTimeout: must be longer than 0/],
  ['meshConfig: {trustDomain: Cluster.Local}', /SP1000 spec\.meshConfig\.trustDomain: must be a SPIFFE trust domain/],
  ['meshConfig: {trustDomainAliases: [cluster.local]}', /SP1000 the trust domain is no alias of itself/],
  [
    'meshConfig: {outboundTrafficPolicy: {mode: ANY}}',
    /SP1000 .*expected one of REGISTRY_ONLY, ALLOW_ANY, found "ANY"/,
  ],
  [
    'meshConfig: {accessLogFormat: "%PROTOCOL%"}',
    /SP1000 spec\.meshConfig\.accessLogFormat: must be the text of a JSON object/,
  ],
  [
    "meshConfig: {accessLogFormat: '[1]'}",
    /SP1000 spec\.meshConfig\.accessLogFormat: must be the text of a JSON object/,
  ],
  ['bindAddress: localhost', /SP1000 spec\.bindAddress: must be an IP address/],
  ['ports: {80: 70000}', /SP1000 spec\.ports\.80: must be at most 65535, found 70000/],
  ['ports: {99999: 0}', /SP1000 99999 is not a port number/],
  ['ports: {http: 80}', /9:\d+ error SP1000 spec\.ports\.http/],
  ['ports: {80: 8080, 81: 8080}', /9:25 error SP1042 Gateway port 81 and Gateway port 80 are both bound to port 8080/],
  ['ports: {80: 15090}', /SP1042 the metrics server and Gateway port 80 are both bound to port 15090/],
  ['addressGuard: {allow: [10.0.0.0/33]}', /SP1000 spec\.addressGuard\.allow\[0\]: must be a CIDR/],
  ['dns: {servers: [dns.example.com]}', /SP1000 spec\.dns\.servers\[0\]: must be an IP address/],
  ['dns: {servers: ["10.0.0.53:0"]}', /SP1000 spec\.dns\.servers\[0\]: must be an IP address/],
  ['dns: {minTtl: 10m}', /SP1000 spec\.dns\.minTtl is longer than maxTtl/],
]
for (const [lines, finding] of REFUSED) {
  test(`refused: ${lines}`, (t) => {
    const { settings, findings, resourcePaths } = read(t, `${HEAD}  ${lines}\n`)
    assert.equal(settings, null)
    assert.equal(findings.length, 1, findings.join('\n'))
    assert.match(findings[0] ?? '', finding)
    assert.equal(resourcePaths.length, 2)
  })
}

test('refused: trust bundles of other domains and revocation lists', (t) => {
  const text = HEAD.replace(
    'trustBundle: /root.pem',
    'trustBundle: /root.pem, trustBundles: {other: /x.pem}, crl: /crl.pem',
  )
  const { settings, findings } = read(t, text)
  assert.equal(settings, null)
  assert.match(findings.join('\n'), /SP1041 spec\.identity\.trustBundles: .*\n.*SP1041 spec\.identity\.crl: /)
  assert.deepEqual(read(t, HEAD.replace('/root.pem', '/root.pem, trustBundles: {}, crl: null')).findings, [])
})

test('all findings in one run, missing fields named', (t) => {
  const { settings, findings } = read(
    t,
    'apiVersion: sallyport.dev/v2\nkind: EgressGateway\nmetadata: {name: x}\nspec:\n  colour: red\n',
  )
  assert.equal(settings, null)
  assert.deepEqual(findings, [
    'gateway.yaml:1:13 error SP1040 apiVersion is "sallyport.dev/v2" → write apiVersion: sallyport.dev/v1',
    'gateway.yaml:3:1 error SP1033 metadata.namespace is required',
    'gateway.yaml:5:3 error SP1030 unknown key "colour" in spec',
  ])
})

test('resources and identity are empty by default: a plaintext gateway needs neither', (t) => {
  const { settings, findings } = read(
    t,
    'apiVersion: sallyport.dev/v1\nkind: EgressGateway\nmetadata: {name: a, namespace: b}\nspec: {}\n',
  )
  assert.deepEqual(findings, [])
  assert.deepEqual(settings?.identity, { certificateChain: '', privateKey: '', trustBundle: '' })
})

test('one document, not two, not none', (t) => {
  assert.match(
    read(t, `${HEAD}---\n${HEAD}`).findings.join('\n'),
    /^gateway\.yaml:10:1 error SP1040 the bootstrap is one document/,
  )
  assert.deepEqual(read(t, '# nothing\n').findings, [
    'gateway.yaml:1:1 error SP1040 the bootstrap file holds no EgressGateway',
  ])
  assert.match(read(t, '').findings.join('\n'), /SP1002 is empty/)
  assert.match(read(t, 'just text\n').findings.join('\n'), /SP1040/)
})

test('a warning does not make the file unusable', (t) => {
  const { settings, findings } = read(
    t,
    HEAD.replace('  namespace: istio-system\n', '  namespace: istio-system\n  labels: {app: "x", on: "1"}\n'),
  )
  assert.match(findings.join('\n'), /^gateway\.yaml:6:\d+ warning SP1013 bare on /)
  assert.deepEqual(settings?.labels, { app: 'x', on: '1' })
})

test('the access-log format is put to its owner', (t) => {
  const text = `${HEAD}  meshConfig: {accessLogFormat: '{"a": "%NOPE%"}'}\n`
  const asked: unknown[] = []
  const { settings, findings } = read(t, text, (...question) => {
    asked.push(question)
    return 'unknown operator %NOPE%'
  })
  assert.deepEqual(asked, [['JSON', '{"a": "%NOPE%"}']])
  assert.equal(settings, null)
  assert.match(
    findings.join('\n'),
    /^gateway\.yaml:9:33 error SP1000 spec\.meshConfig\.accessLogFormat: unknown operator %NOPE%$/,
  )
})

test('an admin port that is not on loopback is a warning', (t) => {
  const { settings, findings } = read(t, `${HEAD}  admin: {address: 0.0.0.0}\n`)
  assert.deepEqual(findings, [
    'gateway.yaml:9:20 warning SP1043 the admin server has no login, and 0.0.0.0 is not loopback → write 127.0.0.1 or leave it out',
  ])
  assert.equal(settings?.admin.address, '0.0.0.0')
  for (const address of ['127.0.0.2', '"::1"'])
    assert.deepEqual(read(t, `${HEAD}  admin: {address: ${address}}\n`).findings, [])
})

test('tracing: warnings do not keep the gateway from starting', (t) => {
  const { settings, findings } = read(
    t,
    `${HEAD}  meshConfig: {defaultProviders: {tracing: [otel]}, defaultConfig: {tracing: {customTags: {a: {}}}}}\n`,
  )
  assert.notEqual(settings, null)
  assert.match(findings[0] ?? '', /warning SP8501 provider otel is none of meshConfig\.extensionProviders/)
  assert.match(findings[1] ?? '', /warning SP8502 the tag a has no literal, environment or header/)
})
