/** Files → resources over real directories, with the real kinds. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import test, { type TestContext } from 'node:test'
import fc from 'fast-check'
import { formatDiagnostic } from './diagnostics.ts'
import { asmEgressTrafficPolicy } from './kinds/asm-egress-traffic-policy.ts'
import { destinationRule } from './kinds/destination-rule.ts'
import { egressRateLimit } from './kinds/egress-rate-limit.ts'
import { gateway } from './kinds/gateway.ts'
import { serviceEntry } from './kinds/service-entry.ts'
import { telemetry } from './kinds/telemetry.ts'
import { workloads } from './kinds/workload.ts'
import { type ReadResult, readResources } from './read.ts'
import { collectDiagnostics } from './report.ts'
import type { KindModule } from './resource.ts'

const KINDS = [
  ...([
    asmEgressTrafficPolicy,
    destinationRule,
    egressRateLimit,
    gateway,
    serviceEntry,
    telemetry,
  ] as unknown as KindModule[]),
  ...workloads,
]

type Read = ReadResult & { readonly findings: readonly string[] }

/** Writes files into a fresh directory and reads it; findings name files relative to it. */
function read(t: TestContext, files: Readonly<Record<string, string>>, paths: readonly string[] = ['.']): Read {
  const directory = mkdtempSync(path.join(tmpdir(), 'sallyport-read-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(path.dirname(path.join(directory, name)), { recursive: true })
    writeFileSync(path.join(directory, name), text)
  }
  return readFrom(directory, paths)
}

function readFrom(directory: string, paths: readonly string[]): Read {
  const { report, sorted } = collectDiagnostics()
  const display = (file: string) => path.relative(directory, file) || '.'
  const absolute = paths.map((each) => path.resolve(directory, each))
  const result = readResources(absolute, { kinds: KINDS, defaultNamespace: 'istio-system', display }, report)
  return { ...result, findings: sorted().map(formatDiagnostic) }
}

const entry = (name: string, extra = '', namespace = 'outside') => `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: ${name}
  namespace: ${namespace}
spec:
  hosts: [${name}.example.com]
  ports:
  - {number: 443, name: tls, protocol: TLS}
  resolution: DNS
  location: MESH_EXTERNAL
${extra}`

test('a misspelt key in the third document is named at its place', (t) => {
  const third = `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: c, namespace: outside}
spec:
  hosts: [c.example.com]
  ports:
  - number: 80
    name: http
    protcol: HTTP
`
  const { findings } = read(t, { 'a.yaml': `${entry('a')}---\n${entry('b')}---\n${third}` })
  assert.ok(
    findings.includes(
      'a.yaml:33:5 warning SP1030 unknown key "protcol" in spec.ports[0], passed over → did you mean protocol?',
    ),
    findings.join('\n'),
  )
})

test('snake_case, quoted integers and numeric enums mean the same as their usual spelling', (t) => {
  const loose = `apiVersion: networking.istio.io/v1beta1
kind: DestinationRule
metadata: {name: x, namespace: outside, labels: {snake_case: kept_as_is}}
spec:
  host: x.example.com
  traffic_policy:
    port_level_settings:
    - port: {number: "443"}
      tls: {mode: 1, sni: x.example.com, subject_alt_names: [x.example.com]}
`
  const strict = `apiVersion: networking.istio.io/v1beta1
kind: DestinationRule
metadata: {name: x, namespace: outside, labels: {snake_case: kept_as_is}}
spec:
  host: x.example.com
  trafficPolicy:
    portLevelSettings:
    - port: {number: 443}
      tls: {mode: SIMPLE, sni: x.example.com, subjectAltNames: [x.example.com]}
`
  const first = read(t, { 'a.yaml': loose })
  const second = read(t, { 'a.yaml': strict })
  assert.deepEqual(first.findings, [])
  assert.deepEqual(first.resources[0]?.spec, second.resources[0]?.spec)
  assert.deepEqual(first.resources[0]?.labels, { snake_case: 'kept_as_is' })
  const at = first.resources[0]?.at('spec', 'trafficPolicy', 'portLevelSettings', 0, 'tls', 'subjectAltNames')
  assert.deepEqual(at, { file: 'a.yaml', line: 9, col: 42 })
  // Of the nearest ancestor when absent.
  assert.deepEqual(first.resources[0]?.at('spec', 'trafficPolicy', 'outlierDetection', 'x'), {
    file: 'a.yaml',
    line: 6,
    col: 3,
  })
})

test('one field in both spellings is an error', (t) => {
  const text = `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: x, namespace: a}
spec:
  host: x.example.com
  traffic_policy: {outlierDetection: {}}
  trafficPolicy: {outlierDetection: {}}
`
  assert.deepEqual(read(t, { 'a.yaml': text }).findings, [
    'a.yaml:6:3 error SP1031 spec.trafficPolicy stands here as trafficPolicy and as traffic_policy → keep one of the two',
  ])
})

const rule = (tls: string) => `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: x, namespace: a}
spec:
  host: x.example.com
  trafficPolicy:
    ${tls}
    outlierDetection: {}
`
test('inside tls unknown keys and empty values are errors, and so is a misspelt tls', (t) => {
  const one = (tls: string) => read(t, { 'a.yaml': rule(tls) }).findings.join('\n')
  assert.match(
    one('tls: {mode: SIMPLE, subjectAltNmes: [a]}'),
    /^a\.yaml:7:25 error SP1030 .* → did you mean subjectAltNames\?$/,
  )
  assert.match(one('tls: {mode: SIMPLE, subjectAltNames: }'), /^a\.yaml:7:25 error SP1032 /)
  assert.match(one('tsl: {mode: SIMPLE}'), /^a\.yaml:7:5 error SP1030 .* → did you mean tls\?$/)
  assert.match(one('loadBalncer: {}'), /^a\.yaml:7:5 warning SP1030 /)
  // Elsewhere null is absent, as in protobuf-JSON.
  assert.equal(one('loadBalancer: '), '')
})

test('in a kind that restricts, an empty value is refused instead of meaning "any"', (t) => {
  const text = `apiVersion: istio.alibabacloud.com/v1
kind: ASMEgressTrafficPolicy
metadata: {name: p, namespace: istio-egress}
spec:
  byEgressGateway: {name: egressgateway}
  egressRules:
  - name: r
    from:
    - namespace: mytest
      workloadSelector:
    to:
    - name: web
      hosts: [httpbin.org]
      port: {number: 80, protocol: HTTP}
      byEgressGateway: {port: 80}
`
  const { findings } = read(t, { 'a.yaml': text })
  assert.match(
    findings.join('\n'),
    /^a\.yaml:10:7 error SP1032 spec\.egressRules\[0\]\.from\[0\]\.workloadSelector has no value/m,
  )
})

test('schema errors say path, expectation and what stands there; all in one run', (t) => {
  const text = `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: x, namespace: a}
spec:
  hosts: [x.example.com, 7]
  ports:
  - {number: eighty, name: http, protocol: HTTP}
  resolution: DSN
`
  const { findings, resources } = read(t, { 'a.yaml': text, 'b.yaml': 'kind: ServiceEntry\n' })
  assert.deepEqual(findings, [
    'a.yaml:5:26 error SP1000 spec.hosts[1]: expected text, found 7 → put it in quotes: "7"',
    'a.yaml:7:14 error SP1000 spec.ports[0].number: expected a number, found "eighty"',
    ...findings.filter((each) => each.startsWith('a.yaml:8:15 error SP1000 spec.resolution: expected one of ')),
    'b.yaml:1:1 error SP1020 apiVersion missing: not a resource',
  ])
  assert.equal(findings.length, 4)
  assert.match(findings[2] ?? '', /found "DSN" → did you mean DNS\?$/)
  assert.deepEqual(resources, [])
})

test('List is flattened; status and managedFields are passed over in silence', (t) => {
  const item = (name: string) => ({
    apiVersion: 'networking.istio.io/v1',
    kind: 'ServiceEntry',
    metadata: { name, namespace: 'a', creationTimestamp: null, managedFields: [{ anything: 1 }], uid: 'x' },
    spec: {
      hosts: [`${name}.example.com`],
      ports: [{ number: 80, name: 'http', protocol: 'HTTP' }],
      resolution: 'DNS',
    },
    status: { whatever: true },
  })
  const list = { apiVersion: 'v1', kind: 'List', items: [item('x'), item('y')], metadata: { resourceVersion: '' } }
  const text = JSON.stringify(list, null, 2)
  const { findings, resources } = read(t, { 'a.json': text })
  assert.deepEqual(findings, [])
  assert.deepEqual(
    resources.map(({ name }) => name),
    ['x', 'y'],
  )
  assert.equal(
    resources[1]?.at('metadata', 'name').line,
    text.split('\n').findIndex((line) => line.includes('"name": "y"')) + 1,
  )
})

test('kinds: passed over, possibly restricting, misspelt, wrong version', (t) => {
  const head = (apiVersion: string, kind: string) =>
    `apiVersion: ${apiVersion}\nkind: ${kind}\nmetadata: {name: x, namespace: a}\nspec: {}\n`
  const files = {
    'a.yaml': ['v1', 'v1'].map((version) => head(version, 'ConfigMap')).join('---\n'),
    'b.yaml': head('networking.istio.io/v1alpha3', 'EnvoyFilter'),
    'c.yaml': head('networking.istio.io/v1', 'ServiceEntri'),
    'd.yaml': head('networking.istio.io/v2', 'ServiceEntry'),
    'e.yaml': head('networking.itsio.io/v1', 'ServiceEntry'),
    'f.yaml': head('gateway.networking.k8s.io/v1', 'Gateway'),
    'g.yaml': head('sallyport.dev/v1alpha1', 'EgressQuota'),
  }
  assert.deepEqual(read(t, files).findings, [
    'a.yaml:1:1 info SP1021 ConfigMap (v1) is passed over (2 of them)',
    'b.yaml:1:1 warning SP1022 EnvoyFilter (networking.istio.io) is not read; it may have restricted traffic',
    'c.yaml:1:1 error SP1023 networking.istio.io/v1 has no kind ServiceEntri → did you mean ServiceEntry?',
    'd.yaml:1:1 error SP1023 ServiceEntry is not read in apiVersion networking.istio.io/v2 → write networking.istio.io/v1 or networking.istio.io/v1beta1 or networking.istio.io/v1alpha3',
    'e.yaml:1:1 error SP1023 ServiceEntry is not known in API group "networking.itsio.io" → did you mean networking.istio.io/v1?',
    'f.yaml:1:1 info SP1021 Gateway (gateway.networking.k8s.io) is passed over',
    'g.yaml:1:1 error SP1023 sallyport.dev/v1alpha1 has no kind EgressQuota',
  ])
})

test('metadata: name required, namespace defaulted with a warning, duplicates name both places', (t) => {
  const nameless = entry('x').replace('  name: x\n', '')
  const bare = entry('b').replace('  namespace: outside\n', '')
  const { findings, resources } = read(t, {
    'a.yaml': nameless,
    'b.yaml': bare,
    'c.yaml': entry('z'),
    'd.yaml': `# again\n${entry('z')}`,
  })
  assert.deepEqual(findings, [
    'a.yaml:3:1 error SP1024 metadata.name is required',
    "b.yaml:3:1 warning SP1025 ServiceEntry b has no namespace; it belongs to the gateway's, istio-system → write namespace: istio-system",
    'd.yaml:2:1 error SP1026 ServiceEntry outside/z stands twice; the other is at c.yaml:1:1 → remove one of the two',
  ])
  assert.equal(resources.find(({ name }) => name === 'b')?.namespace, 'istio-system')
})

test('a misspelt namespace key in a restricting kind is an error', (t) => {
  const text =
    'apiVersion: sallyport.dev/v1alpha1\nkind: EgressRateLimit\nmetadata:\n  name: x\n  namspace: a\nspec: {}\n'
  assert.ok(
    read(t, { 'a.yaml': text }).findings.some((each) =>
      each.startsWith('a.yaml:5:3 error SP1030 unknown key "namspace" in metadata → did you mean namespace?'),
    ),
  )
})

test('fields that are not implemented are found at every place', (t) => {
  const text = `apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: x, namespace: a}
spec:
  selector: {istio: egressgateway}
  servers:
    - port: {number: 443, name: a, protocol: HTTPS}
      hosts: ['*']
      tls: {mode: ISTIO_MUTUAL, caCrl: /crl.pem}
    - port: {number: 8443, name: b, protocol: HTTPS}
      hosts: ['*']
      tls:
        mode: ISTIO_MUTUAL
        ca_crl: /crl.pem
`
  const { unsupported } = read(t, { 'a.yaml': text })
  assert.deepEqual(
    unsupported.map(({ path: where, at, field }) => [where, at.line, at.col, field.severity]),
    [
      ['spec.servers[0].tls.caCrl', 9, 40, 'error'],
      ['spec.servers[1].tls.caCrl', 14, 17, 'error'],
    ],
  )
})

test('property: whatever a file holds, reading never throws and every finding lies inside its file', () => {
  const lines = entry('a').concat(rule('tls: {mode: SIMPLE}')).split('\n')
  const garbage = fc.constantFrom(
    '  tls:',
    '    x_y: yes',
    '- a',
    '---',
    'spec: [1]',
    'kind: Gateway',
    'metadata:',
    '  labels: {a: 1}',
    '\tx',
    '{',
    'spec:',
    '  ports: 80',
    'items: []',
    'kind: List',
  )
  const line = fc.oneof({ weight: 4, arbitrary: fc.constantFrom(...lines) }, { weight: 1, arbitrary: garbage })
  const directory = mkdtempSync(path.join(tmpdir(), 'sallyport-read-'))
  try {
    fc.assert(
      fc.property(fc.array(line, { minLength: 1, maxLength: 40 }), (chosen) => {
        const text = chosen.join('\n')
        writeFileSync(path.join(directory, 'a.yaml'), text)
        const { report, sorted } = collectDiagnostics()
        const options = { kinds: KINDS, defaultNamespace: 'a', display: () => 'a.yaml' }
        const { resources } = readResources([path.join(directory, 'a.yaml')], options, report)
        const rows = text.split('\n')
        const places = [
          ...sorted(),
          ...resources.flatMap(({ at }) => [at(), at('spec'), at('spec', 'hosts', 0), at('metadata')]),
        ]
        for (const { line: row, col } of places) {
          assert.ok(
            row >= 1 && row <= rows.length && col >= 1 && col <= (rows[row - 1] ?? '').length + 1,
            `${row}:${col}`,
          )
        }
      }),
      { numRuns: 400 },
    )
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
})
