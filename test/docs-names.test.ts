/**
 * The pages for operators and newcomers name what the program has: commands and their flags, admin endpoints, metrics, alerts, reasons, fields of
 * the access log, settings, Kubernetes objects. The tables are the program's own.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { COMMANDS, helpText } from '../src/cli/args.ts'
import { readBootstrap } from '../src/config/bootstrap.ts'
import { KINDS } from '../src/config/kinds/index.ts'
import { REASONS } from '../src/core/reasons.ts'
import { DEFAULT_JSON } from '../src/observe/access-log/defaults.ts'
import { ADMIN_ENDPOINTS } from '../src/observe/admin.ts'
import { unknownNames } from './deploy/metric-names.ts'

const ROOT = path.resolve(import.meta.dirname, '..')
const read = (file: string) => readFileSync(path.join(ROOT, file), 'utf8')
const PAGES = [
  'README.md',
  'SECURITY.md',
  'docs/operations.md',
  'docs/migrate-from-istio-egress.md',
  'docs/differences.md',
  'docs/faq.md',
  'config/README.md',
  'compose/README.md',
  'k8s/README.md',
  'observability/README.md',
  'loadtest/README.md',
] as const

/** Lines of fenced blocks, and code spans. In a table a bar within a span is written `\|`. */
function codeOf(text: string): readonly string[] {
  const fences = [...text.matchAll(/^```\w*\n([\s\S]*?)^```/gm)].flatMap(([, body = '']) => body.split('\n'))
  const rest = text.replace(/^```[\s\S]*?^```/gm, '')
  return [...fences, ...[...rest.matchAll(/`([^`\n]+)`/g)].map(([, span = '']) => span.replaceAll('\\|', '|'))]
}

/** What the schema of the bootstrap file has at a dotted path below `spec`. */
function hasSetting(dotted: string): boolean {
  type Schema = { readonly properties?: Readonly<Record<string, Schema>> }
  let at: Schema | undefined = JSON.parse(read('config/egress-gateway.schema.json')) as Schema
  for (const name of dotted.split('.')) at = at?.properties?.[name]
  return at !== undefined
}

const ENDPOINTS = new Map(ADMIN_ENDPOINTS.map(({ path: endpoint, method }) => [endpoint, method]))
const FIELDS = Object.keys(DEFAULT_JSON)
const WORDS: ReadonlySet<string> = new Set([...Object.keys(REASONS), ...FIELDS])
/** Names with underscores that are something else: labels of metrics, filters of statistics, details, k6. */
const OTHERS: ReadonlySet<string> = new Set(['source_principal', 'dropped_iterations', 'ext_authz_error'])

function commandProblems(code: string): string[] {
  const [, name = '', rest = ''] =
    /^(?:docker compose exec \S+ )?(?:\.\/bin\/)?sallyport (\w+)(.*)$/.exec(code.replace(/\s+#.*$/, '')) ?? []
  if (name === '') return []
  if (COMMANDS[name] === undefined) return [`no command ${name}`]
  const flags = [...rest.matchAll(/(?<=\s)--?[a-zA-Z][\w-]*/g)].map(([flag]) => flag)
  return flags.filter((flag) => !helpText().includes(`${flag} `) && !helpText().includes(`${flag}]`))
}

function endpointProblems(code: string): string[] {
  const asked = [...code.matchAll(/(-X POST )?'?(?:http:\/\/)?127\.0\.0\.1:15000(\/[\w/]*)/g)].map(
    ([, post, endpoint = '']) => ({ method: post === undefined ? 'GET' : 'POST', endpoint }),
  )
  // `/certs` alone, as prose has it.
  const [, alone] = /^(\/[a-z_]+)$/.exec(code) ?? []
  const spoken = alone === undefined ? [] : [{ method: ENDPOINTS.get(alone), endpoint: alone }]
  return [...asked, ...spoken]
    .filter(({ method, endpoint }) => ENDPOINTS.get(endpoint) === undefined || ENDPOINTS.get(endpoint) !== method)
    .map(({ method, endpoint }) => `no endpoint ${method} ${endpoint}`)
}

function wordProblems(code: string): string[] {
  const problems = /^[a-z]+(?:_[a-z]+)+$/.test(code) && !/^(?:sallyport|istio|envoy|process|nodejs)_/.test(code)
  return problems && !WORDS.has(code) && !OTHERS.has(code)
    ? [`${code} is no reason and no field of the access log`]
    : []
}

function settingProblems(code: string): string[] {
  return /^spec(?:\.[a-zA-Z]+)+$/.test(code) && !hasSetting(code) ? [`no setting ${code}`] : []
}

/** Ports of the gateway by default, and what answers there. Istio's own in the same range are not ours. */
function portProblems(text: string): string[] {
  const { settings } = readBootstrap(
    path.join(ROOT, 'config/minimal/gateway.yaml'),
    { display: (name) => name },
    () => {},
  )
  assert.ok(settings !== null)
  const { admin, health, metrics } = settings
  const ours = [admin.port, health.port, metrics.port]
  const istio = [15_012, 15_020]
  const ports = [...text.matchAll(/\b(15\d{3})\b/g)].map(([port]) => Number(port))
  const paths = [...text.matchAll(/\b(\d{5})\b(?: \| `| at `)?(\/[a-z][\w/]*)/g)]
    .map(([whole, port, at]) => [whole, Number(port), at] as const)
    .filter(([, port]) => port === health.port || port === metrics.port)
  return [
    ...ports.filter((port) => !ours.includes(port) && !istio.includes(port)).map((port) => `no port ${port}`),
    ...paths
      .filter(([, port, at]) => at !== (port === health.port ? '/healthz/ready' : '/stats/prometheus'))
      .map(([whole]) => `nothing at ${whole}`),
  ]
}

const KUBERNETES = /kubectl -n (\S+) .*?(?:deploy\/(\S+)(?: -c (\S+))?)/

function kubernetesProblems(code: string): string[] {
  const [, namespace, deployment, container] = KUBERNETES.exec(code) ?? []
  if (namespace === undefined) return []
  const base = `${read('k8s/base/namespace.yaml')}${read('k8s/base/deployment.yaml')}`
  return [namespace, deployment, container].filter(
    (name) => name !== undefined && !new RegExp(`^\\s*(?:- )?name: ${name}$`, 'm').test(base),
  ) as string[]
}

const CHECKS = { commandProblems, endpointProblems, wordProblems, settingProblems, kubernetesProblems } as const

for (const page of PAGES)
  test(`${page} names only what there is`, () => {
    const text = read(page)
    const code = codeOf(text)
    assert.deepEqual(portProblems(text), [])
    for (const [name, check] of Object.entries(CHECKS)) assert.deepEqual(code.flatMap(check), [], name)
    assert.deepEqual(
      code.flatMap((each) => unknownNames(each)).filter((problem) => problem.startsWith('no metric')),
      [],
    )
    const rules = read('observability/rules.yaml')
    for (const [alert] of text.matchAll(/\bSallyport[A-Z]\w+/g)) assert.ok(rules.includes(`alert: ${alert}\n`), alert)
  })

test('the README’s table of kinds has those that are read, and no others', () => {
  const rows = [...read('README.md').matchAll(/^\| (`[A-Z]\w+`(?:, `[A-Z]\w+`)*) \|/gm)].flatMap(([, kinds = '']) =>
    [...kinds.matchAll(/\w+/g)].map(([kind]) => kind),
  )
  assert.deepEqual(rows.toSorted(), KINDS.map(({ kind }) => kind).toSorted())
})

test('the README’s transcript is of steps that the demo has', () => {
  const [, transcript = ''] = read('README.md').split(/<!-- \/?demo-transcript -->/)
  const titles = [...transcript.matchAll(/^\d+\. (.+)$/gm)].map(([, title = '']) => title)
  assert.ok(titles.length >= 2)
  for (const title of titles) assert.ok(read('demo/walkthroughs.ts').includes(`'${title}'`), title)
})

test('each alert has its row in the runbook', () => {
  const runbook = read('docs/operations.md')
  const alerts = [...read('observability/rules.yaml').matchAll(/alert: (\w+)/g)].map(([, name = '']) => name)
  assert.ok(alerts.length >= 15)
  // These two are no incidents: a remark on the configuration, and a dry run that says what it would do.
  const quiet = ['SallyportUpstreamUnverified', 'SallyportWouldDeny']
  assert.deepEqual(
    alerts.filter((name) => !quiet.includes(name) && !runbook.includes(name)),
    [],
  )
})

test('a bootstrap file shown in a page is one', (t) => {
  const dir = mkdtempSync(path.join(tmpdir(), 'sallyport-docs-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  const blocks = PAGES.flatMap((page) =>
    [...read(page).matchAll(/^```yaml\n([\s\S]*?)^```/gm)].map(([, body = '']) => body),
  ).filter((body) => body.includes('kind: EgressGateway'))
  assert.ok(blocks.length >= 1)
  for (const block of blocks) {
    const file = path.join(dir, 'gateway.yaml')
    writeFileSync(file, block)
    const findings: string[] = []
    readBootstrap(file, { display: (name) => name }, (code, _, message) => void findings.push(`${code} ${message}`))
    assert.deepEqual(findings, [])
  }
})

test('what does not exist is found', () => {
  assert.equal(commandProblems('sallyport learn -f gateway.yaml').length, 1)
  assert.equal(commandProblems('docker compose exec gateway sallyport why -f gateway.yaml').length, 1)
  assert.deepEqual(commandProblems('sallyport validate -f gateway.yaml --lenient'), ['--lenient'])
  assert.deepEqual(commandProblems('sallyport validate -f gateway.yaml --strict'), [])
  assert.equal(endpointProblems('curl -s 127.0.0.1:15000/memory').length, 1)
  assert.equal(endpointProblems("curl -s '127.0.0.1:15000/logging?level=debug'").length, 1)
  assert.equal(endpointProblems("curl -X POST '127.0.0.1:15000/logging?level=debug'").length, 0)
  assert.equal(endpointProblems('/memory').length, 1)
  assert.equal(wordProblems('rbac_refused').length, 1)
  assert.deepEqual(portProblems('on port 15091, by :15021/ready or `15090` or 15090/stats/prometheus'), [
    'no port 15091',
    'nothing at 15021/ready',
  ])
  assert.equal(settingProblems('spec.dns.staleForever').length, 1)
  assert.equal(settingProblems('spec.dns.staleFor').length, 0)
  assert.deepEqual(kubernetesProblems('kubectl -n egress logs deploy/istio-egressgateway -c envoy'), [
    'egress',
    'envoy',
  ])
  assert.deepEqual(codeOf('a `b\\|c` d\n```sh\ne\n```\n'), ['e', '', 'b|c'])
})
