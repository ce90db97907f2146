/**
 * The claim: 1,000 AuthorizationPolicies and 1,000 ServiceEntries load in under 5 s, and a decision stays in the
 * microseconds. `npm run bench:policy`. Writes YAML to a temporary directory and loads it as `sallyport run` would.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { formatDiagnostic } from '../src/config/diagnostics.ts'
import { loadConfiguration } from '../src/config/load.ts'
import type { Attributes } from '../src/core/attributes.ts'
import type { Decision } from '../src/core/decision.ts'
import type { PolicyModel } from '../src/model/policy.ts'
import { compileAuthorizer } from '../src/policy/authorizer.ts'
import { request, spiffePeer } from '../src/testing/policy-fixtures.ts'

const COUNT = 1000
const RUNS = 9
const LOAD_RUNS = 3
const MIN_RUN_NS = 20_000_000

/** Every tenth is a DENY of one method on one host; the others permit one namespace and account one host each. */
function policyYaml(i: number): string {
  const n = String(i).padStart(4, '0')
  const deny = i % 10 === 9
  const head = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: ${deny ? 'deny' : 'allow'}-${n}, namespace: istio-system }
spec:
  selector: { matchLabels: { istio: egressgateway } }
  action: ${deny ? 'DENY' : 'ALLOW'}
  rules:
`
  const to = `    to:
    - operation:
        hosts: [host-${n}.example.com]
        methods: [${deny ? 'DELETE' : 'GET, POST'}]
        paths: ["/api/*", "/v1/{*}/items"]
`
  const from = deny
    ? `  - from: [{ source: { namespaces: [team-${n}, team-shared] } }]\n`
    : `  - from: [{ source: { principals: [cluster.local/ns/team-${n}/sa/app], notIpBlocks: [192.0.2.0/24] } }]\n`
  const when = '    when: [{ key: "request.headers[x-blocked]", notValues: ["yes"] }]\n'
  return head + from + to + when
}

function serviceEntryYaml(i: number): string {
  const n = String(i).padStart(4, '0')
  return `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: se-${n}, namespace: istio-system }
spec:
  hosts: [host-${n}.example.com]
  location: MESH_EXTERNAL
  resolution: DNS
  ports:
  - { number: 80, name: http, protocol: HTTP }
  - { number: 443, name: https, protocol: HTTPS }
`
}

const BOOTSTRAP = `apiVersion: sallyport.dev/v1
kind: EgressGateway
metadata:
  name: istio-egressgateway
  namespace: istio-system
  labels: { istio: egressgateway }
spec:
  resources: [./resources]
  identity: { certificateChain: cert.pem, privateKey: key.pem, trustBundle: root.pem }
  ports: { 80: 8080 }
`

function writeConfiguration(directory: string): string {
  mkdirSync(path.join(directory, 'resources'))
  const many = (yaml: (i: number) => string) => Array.from({ length: COUNT }, (_, i) => yaml(i)).join('---\n')
  writeFileSync(path.join(directory, 'resources', 'policies.yaml'), many(policyYaml))
  writeFileSync(path.join(directory, 'resources', 'service-entries.yaml'), many(serviceEntryYaml))
  const file = path.join(directory, 'gateway.yaml')
  writeFileSync(file, BOOTSTRAP)
  return file
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] as number
}

/** Nanoseconds per decision, the median of several runs; the number of decisions per run is found by doubling. */
function measure(decide: (attributes: Attributes) => Decision, attributes: Attributes): number {
  const run = (times: number): number => {
    const start = process.hrtime.bigint()
    for (let i = 0; i < times; i++) decide(attributes)
    return Number(process.hrtime.bigint() - start)
  }
  let times = 64
  while (run(times) < MIN_RUN_NS) times *= 2
  return median(Array.from({ length: RUNS }, () => run(times) / times))
}

function bench(policies: readonly PolicyModel[]): void {
  const start = process.hrtime.bigint()
  const indexed = compileAuthorizer(policies)
  console.log(`compile               ${(Number(process.hrtime.bigint() - start) / 1e6).toFixed(1)} ms`)
  const plain = compileAuthorizer(policies, { index: false })
  const app = spiffePeer('cluster.local/ns/team-0500/sa/app')
  const team = spiffePeer('cluster.local/ns/team-0509/sa/app')
  const call = { path: '/api/x', headers: ['user-agent', 'curl/8', 'accept', '*/*', 'x-request-id', 'a'] }
  const cases: readonly (readonly [what: string, attributes: Attributes, expected: Decision['outcome']])[] = [
    ['hit (an ALLOW permits)', request({ ...call, peer: app, host: 'host-0500.example.com' }), 'allow'],
    ['miss (no ALLOW matches)', request({ ...call, peer: app, host: 'host-0001.example.com' }), 'deny'],
    [
      'deny (a DENY matches)',
      request({ ...call, peer: team, host: 'host-0509.example.com', method: 'DELETE' }),
      'deny',
    ],
    ['no identity', request({ ...call, host: 'host-0500.example.com' }), 'deny'],
  ]
  console.log(`\n${'ns per decision'.padEnd(26)}${'indexed'.padStart(10)}${'plain walk'.padStart(14)}`)
  for (const [what, attributes, expected] of cases) {
    for (const authorizer of [indexed, plain]) {
      const { outcome } = authorizer.decide(attributes)
      if (outcome !== expected) throw new Error(`${what}: expected ${expected}, got ${outcome}`)
    }
    const [fast, slow] = [indexed, plain].map((each) => measure(each.decide, attributes).toFixed(0)) as [string, string]
    console.log(`${what.padEnd(26)}${fast.padStart(10)}${slow.padStart(14)}`)
  }
}

const directory = mkdtempSync(path.join(os.tmpdir(), 'sallyport-bench-'))
try {
  const file = writeConfiguration(directory)
  const loads: number[] = []
  let policies: readonly PolicyModel[] = []
  for (let i = 0; i < LOAD_RUNS; i++) {
    const start = performance.now()
    const { model, diagnostics } = loadConfiguration(file)
    loads.push(performance.now() - start)
    if (model === null) {
      for (const each of diagnostics.filter(({ severity }) => severity === 'error').slice(0, 10))
        console.error(formatDiagnostic(each))
      throw new Error('the configuration does not load')
    }
    policies = model.policies
    if (policies.length !== COUNT || model.registry.length !== COUNT)
      throw new Error(`loaded ${policies.length} policies and ${model.registry.length} hosts, wanted ${COUNT} each`)
  }
  console.log(`node ${process.version}, ${os.cpus()[0]?.model ?? 'unknown CPU'}`)
  console.log(`${COUNT} AuthorizationPolicies + ${COUNT} ServiceEntries`)
  console.log(`load                  first ${loads[0]?.toFixed(0)} ms, median ${median(loads).toFixed(0)} ms`)
  bench(policies)
} finally {
  rmSync(directory, { recursive: true, force: true })
}
