/**
 * The examples under config/ and the walk-throughs under test/scenarios load: what a reader mounts first must not greet them
 * with an error, and what the walk-throughs' own YAML is warned about is written down here.
 */
import assert from 'node:assert/strict'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { loadConfiguration } from '../src/config/load.ts'

const ROOT = path.resolve(import.meta.dirname, '..')

const EXAMPLES = readdirSync(path.join(ROOT, 'config'), { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map((entry) => entry.name)
  .sort()

/** What the tokens of a walk-through may become; see test/scenarios/README.md. */
const TOKENS: Readonly<Record<string, string>> = {
  PORT_HTTPS: '18443',
  PORT_HTTP: '18080',
  PORT_443: '0',
  PORT_444: '0',
  PORT_80: '0',
  PORT_ADMIN: '0',
  PORT_METRICS: '0',
  PORT_HEALTH: '0',
  CA_FILE: '/pki/site-ca.pem',
  IDENTITY_DIR: '/pki/gateway',
  ACCESS_LOG: '/dev/stdout',
  DNS_SERVER: '127.0.0.1:53',
}

const filled = (text: string) =>
  Object.entries(TOKENS).reduce((all, [token, value]) => all.replaceAll(token, value), text)

/** Loads a walk-through with the given resource files in a directory of its own. */
function loadWalkThrough(folder: string, files: readonly string[]) {
  const from = path.join(ROOT, 'test/scenarios', folder)
  const dir = mkdtempSync(path.join(tmpdir(), 'sallyport-'))
  try {
    mkdirSync(path.join(dir, 'resources'))
    for (const file of files) {
      const to = path.join(dir, 'resources', file)
      cpSync(path.join(from, file), to)
      writeFileSync(to, filled(readFileSync(to, 'utf8')))
    }
    writeFileSync(path.join(dir, 'gateway.yaml'), filled(readFileSync(path.join(from, 'bootstrap.yaml'), 'utf8')))
    return loadConfiguration(path.join(dir, 'gateway.yaml'), { display: (file) => path.relative(dir, file) })
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

test('there are examples', () => {
  assert.deepEqual(EXAMPLES, [
    'allow-any',
    'asm-egress',
    'istio-egress',
    'local',
    'minimal',
    'passthrough',
    'service-entry',
    'shared-limits',
    'shop',
  ])
})

for (const name of EXAMPLES)
  test(`config/${name} loads without errors and warnings`, () => {
    const { model, diagnostics } = loadConfiguration(path.join(ROOT, 'config', name, 'gateway.yaml'))
    assert.deepEqual(
      diagnostics.filter(({ severity }) => severity !== 'info'),
      [],
    )
    assert.notEqual(model, null)
  })

/** Folder, files, codes of the warnings the page's own YAML earns, and the clusters that result. */
const WALK_THROUGHS: readonly {
  readonly folder: string
  readonly files: readonly string[]
  readonly warnings: readonly string[]
  readonly clusters: readonly string[]
}[] = [
  {
    folder: 'seed-000',
    files: ['egress-by-egressgateway.yaml', 'test.yaml', 'added.yaml', 'deny-post.yaml'],
    warnings: [],
    clusters: ['outbound|80||httpbin.org', 'outbound|80||www.httpbin.org'],
  },
  {
    folder: 'seed-000',
    files: ['egress-by-egressgateway-https-upgrade.yaml', 'test.yaml', 'added.yaml'],
    warnings: [],
    clusters: ['outbound|443||httpbin.org', 'outbound|443||www.httpbin.org'],
  },
  { folder: 'seed-000', files: ['test.yaml', 'added.yaml'], warnings: [], clusters: [] },
  {
    folder: 'seed-001',
    files: [
      'sleep.yaml',
      'service-entry.yaml',
      'gateway.yaml',
      'destination-rule.yaml',
      'virtual-service.yaml',
      'authorization-policy.yaml',
      'added.yaml',
    ],
    // added.yaml takes over the host; sleep.yaml names no namespace.
    warnings: ['SP7006', 'SP1025'],
    clusters: ['outbound|80||www.aliyun.com'],
  },
  {
    folder: 'seed-003',
    files: ['service-entry.yaml', 'gateway.yaml', 'virtual-service.yaml', 'added.yaml'],
    // The page's ServiceEntry names no namespace; added.yaml takes over the host.
    warnings: ['SP1025', 'SP7006'],
    clusters: ['outbound|80||aliyun.com'],
  },
  {
    folder: 'seed-000',
    files: ['egress-by-egressgateway-tls.yaml', 'test.yaml', 'added.yaml', 'deny-post.yaml'],
    // The DENY of POST closes every tunnel of its namespace, as in Istio.
    warnings: ['SP5022'],
    // Without the TLS of ours that added.yaml's DestinationRules ask for.
    clusters: [
      'outbound|443||httpbin.org',
      'outbound|443||www.httpbin.org',
      'tunnel|443||httpbin.org',
      'tunnel|443||www.httpbin.org',
    ],
  },
  // Walk-through 002: no resource names a namespace, added.yaml takes over the host.
  ...['http-mtls', 'http-plain'].map((variant) => ({
    folder: `seed-002-${variant}`,
    files: ['service-entry.yaml', 'gateway.yaml', 'virtual-service.yaml', 'added.yaml'],
    warnings: ['SP1025', 'SP1025', 'SP1025', 'SP7006', 'SP7006', 'SP1025'],
    clusters: ['outbound|80||edition.cnn.com'],
  })),
  ...['tls-mtls', 'tls-passthrough'].map((variant) => ({
    folder: `seed-002-${variant}`,
    files: ['service-entry.yaml', 'egress.yaml', 'added.yaml'],
    warnings: ['SP1025', 'SP1025', 'SP1025', 'SP1025', 'SP7006'],
    clusters: ['outbound|443||edition.cnn.com'],
  })),
  {
    folder: 'seed-004-registry-only',
    files: ['service-entry-http.yaml', 'service-entry-https.yaml', 'added.yaml', 'added-http.yaml', 'added-https.yaml'],
    warnings: ['SP1025', 'SP7006', 'SP1025', 'SP7006'],
    clusters: ['outbound|443||www.google.com', 'outbound|80||httpbin.org'],
  },
  { folder: 'seed-004-allow-any', files: ['added.yaml'], warnings: [], clusters: [] },
  {
    folder: 'seed-004-timeout',
    files: ['service-entry-http.yaml', 'virtual-service.yaml', 'added.yaml', 'added-timeout.yaml'],
    warnings: ['SP1025', 'SP7006', 'SP1025'],
    clusters: ['outbound|80||httpbin.org'],
  },
]

for (const { folder, files, warnings, clusters } of WALK_THROUGHS)
  test(`${folder} loads: ${files.join(' ')}`, () => {
    const { model, diagnostics } = loadWalkThrough(folder, files)
    const coded = (severity: string) => diagnostics.filter((each) => each.severity === severity).map(({ code }) => code)
    assert.deepEqual(coded('error'), [])
    assert.deepEqual(coded('warning'), warnings)
    assert.deepEqual(
      model?.clusters.map(({ name }) => name),
      clusters,
    )
    for (const cluster of model?.clusters ?? []) assert.equal(cluster.discovery, 'static', 'added.yaml supplies it')
  })

/** The walk-throughs' tunnels: folder, files, and per table what an SNI leads to and where bytes without one go. */
const TUNNELS = [
  [
    'seed-000',
    ['egress-by-egressgateway-tls.yaml', 'test.yaml', 'added.yaml'],
    'asm.444',
    ['www.httpbin.org', 'httpbin.org'],
    null,
  ],
  [
    'seed-002-tls-mtls',
    ['service-entry.yaml', 'egress.yaml', 'added.yaml'],
    'tunnel.443.tls-cnn.istio-egressgateway.istio-system',
    ['edition.cnn.com'],
    'outbound|443||edition.cnn.com',
  ],
  [
    'seed-002-tls-passthrough',
    ['service-entry.yaml', 'egress.yaml', 'added.yaml'],
    'tunnel.443.tls.istio-egressgateway.istio-system',
    ['edition.cnn.com'],
    null,
  ],
  [
    'seed-004-registry-only',
    ['service-entry-https.yaml', 'added.yaml', 'added-https.yaml'],
    'tunnel.443.tls.egressgateway.istio-system',
    ['www.google.com'],
    null,
  ],
] as const

for (const [folder, files, name, hosts, tcp] of TUNNELS)
  test(`${folder} carries the application’s own TLS: ${name}`, () => {
    const { model } = loadWalkThrough(folder, files)
    const table = model?.tunnelTables.find((each) => each.name === name)
    assert.deepEqual(
      table?.hosts.map(({ host }) => host),
      hosts,
    )
    assert.equal(table?.tcp?.destinations[0]?.cluster ?? null, tcp)
    assert.ok(model?.listeners.some(({ servers }) => servers.some(({ tunnelTable }) => tunnelTable === name)))
  })

test('without its workloads, the selector of walk-through 000 matches nobody, and says what to mount', () => {
  const { model, diagnostics } = loadWalkThrough('seed-000', ['egress-by-egressgateway.yaml', 'added.yaml'])
  const callers = model?.routeTables.flatMap(({ virtualHosts }) =>
    virtualHosts.flatMap(({ grants }) => grants?.flatMap((grant) => grant.callers) ?? []),
  )
  assert.ok(callers !== undefined && callers.length > 0)
  for (const caller of callers) assert.deepEqual(caller.serviceAccounts, [])
  assert.ok(diagnostics.some(({ severity }) => severity === 'warning'))
})
