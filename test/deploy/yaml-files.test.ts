/**
 * Every YAML file of the repository is held against a schema. Objects of Kubernetes have the one of their kind: the program's own closed one where
 * it reads the kind, the published one otherwise; the rest is in a table here. A file that nobody has a schema for fails.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { after, describe, it, test } from 'node:test'
import { parse, parseAllDocuments } from 'yaml'
import { KINDS } from '../../src/config/kinds/index.ts'
import { validateFiles } from '../../src/config/load.ts'
import type { Manifest } from './kustomize.ts'
import { asTypeScript, typeErrors, validate } from './models.ts'
import { misfits, type SchemaName } from './yaml-schemas.ts'

const ROOT = path.resolve(import.meta.dirname, '../..')

/** What is committed, and what would be with `git add .`: a file has its schema before it is committed. */
function filesOf(...patterns: readonly string[]): readonly string[] | null {
  const args = ['ls-files', '--cached', '--others', '--exclude-standard', '-z', '--', ...patterns]
  const { status, stdout } = spawnSync('git', args, { cwd: ROOT, encoding: 'utf8' })
  if (status !== 0) return null
  return stdout.split('\0').filter((file) => file !== '' && existsSync(path.join(ROOT, file)))
}

/** TABLE of what is no object of Kubernetes. */
const OTHERS: readonly (readonly [RegExp, SchemaName])[] = [
  [/^docker-compose\.yml$/, 'compose'],
  [/^compose\/envoy\.yaml$/, 'envoy'],
  [/^compose\/prometheus\.yml$/, 'prometheus'],
  [/^compose\/grafana\/datasources\/[^/]+\.yaml$/, 'grafanaSources'],
  [/^compose\/grafana\/dashboards\/[^/]+\.yaml$/, 'grafanaDashboards'],
  [/^observability\/rules\.yaml$/, 'rules'],
  [/^observability\/rules\.test\.yaml$/, 'ruleTests'],
]

/** Wrong on purpose: what is wrong with them is beside them, and test/golden.test.ts holds the program to it. */
const GOLDEN = /^test\/golden\/([\w.-]+?)\.(?:in|bootstrap)\.yaml$/

/** What test/scenarios/README.md says stands in the place of ports and paths. */
const filled = (text: string) =>
  text
    .replaceAll(/\bPORT_(?:HTTPS|HTTP|80|443|444|ADMIN|METRICS|HEALTH)\b/g, '8443')
    .replaceAll(/\b(?:IDENTITY_DIR|CA_FILE|ACCESS_LOG)\b/g, '/etc/certs')
    .replaceAll(/\bDNS_SERVER\b/g, '127.0.0.1:53')

/** No namespace: the published pages' own YAML misses nothing by it, and kustomize puts it in. */
const FORGIVEN: Readonly<Record<string, readonly string[]>> = { 'test/scenarios/': ['SP1025'], 'k8s/base/': ['SP1025'] }

const READ: ReadonlySet<string> = new Set(KINDS.map(({ kind }) => kind))
/** Of these the program checks every field; of workloads it reads labels only. */
const OURS = /^(?:[\w.]+\.istio\.io|istio\.alibabacloud\.com|sallyport\.dev)\//
const scratch = mkdtempSync(path.join(tmpdir(), 'sallyport-yaml-'))
after(() => rmSync(scratch, { recursive: true, force: true }))

/** Files that a kustomization names as patches: parts of objects. */
function patchFiles(files: readonly string[]): ReadonlySet<string> {
  const found = new Set<string>()
  for (const file of files) {
    if (path.basename(file) !== 'kustomization.yaml') continue
    const { patches = [] } = parse(readFileSync(path.join(ROOT, file), 'utf8')) as {
      readonly patches?: readonly { readonly path?: string }[]
    }
    for (const { path: named } of patches)
      if (named !== undefined) found.add(path.posix.join(path.dirname(file), named))
  }
  return found
}

/** What one document of Kubernetes' form does not fit; the program's own kinds are left to `readByTheProgram`. */
function objectProblems(document: unknown): readonly string[] {
  const { apiVersion = '', kind = '' } = (document ?? {}) as { readonly apiVersion?: string; readonly kind?: string }
  if (apiVersion.startsWith('kustomize.config.k8s.io/')) return misfits('kustomization', document)
  if (kind === 'EgressGateway') return misfits('bootstrap', document)
  if (READ.has(kind) && OURS.test(apiVersion)) return []
  try {
    validate(document as Manifest)
    return []
  } catch (error) {
    return [error instanceof Error ? error.message : String(error)]
  }
}

/** What `sallyport validate` says of the resources of a file alone, its warnings too. */
function readByTheProgram(file: string, text: string): readonly string[] {
  const copy = path.join(scratch, file.replaceAll('/', '_'))
  writeFileSync(copy, text)
  const forgiven = Object.entries(FORGIVEN).flatMap(([folder, codes]) => (file.startsWith(folder) ? codes : []))
  return validateFiles([copy], { display: () => file })
    .filter(({ severity, code }) => severity !== 'info' && !forgiven.includes(code))
    .map(({ code, message }) => `${code} ${message}`)
}

function problemsOf(file: string, text: string): readonly string[] {
  const documents = parseAllDocuments(text, { merge: true })
  const errors = documents.flatMap(({ errors: found }) => found.map(String))
  if (errors.length > 0) return errors
  const values = documents.map((each) => each.toJS() as unknown)
  if (values.length === 0) return ['nothing in it']
  const other = OTHERS.find(([pattern]) => pattern.test(file))
  if (other !== undefined) return values.flatMap((value) => misfits(other[1], value))
  const resources = values.some((value) => READ.has((value as { readonly kind?: string } | null)?.kind ?? ''))
  return [...values.flatMap(objectProblems), ...(resources ? readByTheProgram(file, text) : [])]
}

const files = filesOf('*.yaml', '*.yml')

describe('every YAML file fits a schema', { skip: files === null ? 'this is no git repository' : false }, () => {
  const all = files ?? []
  const patches = patchFiles(all)

  it('there are files', () => assert.ok(all.length > 100, `${all.length}`))

  for (const file of all) {
    const golden = GOLDEN.exec(file)?.[1]
    if (golden !== undefined)
      it(`${file} (by what is expected of it)`, () => {
        const beside = readdirSync(path.join(ROOT, 'test/golden'))
        assert.ok(beside.includes(`${golden}.in.yaml`) && beside.includes(`${golden}.diagnostics.txt`))
      })
    else if (!patches.has(file))
      it(file, () => {
        const text = readFileSync(path.join(ROOT, file), 'utf8')
        assert.deepEqual(problemsOf(file, file.startsWith('test/scenarios/') ? filled(text) : text), [])
      })
  }

  it('patches are parts of objects that there are, with no key that there is not', () => {
    assert.ok(patches.size >= 4)
    const parts = [...patches].flatMap((file) =>
      parseAllDocuments(readFileSync(path.join(ROOT, file), 'utf8')).map((each) => each.toJS() as Manifest),
    )
    const text = parts.map((part, index) => asTypeScript(part, `patch${index}`, true)).join('')
    const misspelt = text.replaceAll('"template"', '"tempalte"')
    const errors = typeErrors({ patches: text, misspelt })
    assert.deepEqual(
      errors.filter((each) => !each.startsWith('misspelt.ts')),
      [],
    )
    assert.ok(errors.length >= 1, 'a slip is seen')
  })
})

describe('YAML shown in a page fits a schema', () => {
  for (const page of filesOf('*.md') ?? [])
    for (const [index, [, block = '']] of [
      ...readFileSync(path.join(ROOT, page), 'utf8').matchAll(/^```yaml\n([\s\S]*?)^```/gm),
    ].entries())
      it(`${page}, block ${index + 1}`, () => {
        const documents = block.split(/^---\n/m)
        const parts = documents.filter((text) => !/^apiVersion: /m.test(text))
        const whole = documents.filter((text) => !parts.includes(text)).join('---\n')
        assert.deepEqual(whole === '' ? [] : problemsOf(page, whole), [])
        // What a page shows without a head is a part of the bootstrap file.
        for (const part of parts) assert.deepEqual(misfits('bootstrap', { ...MINIMAL, ...(parse(part) as object) }), [])
      })
})

const MINIMAL = {
  apiVersion: 'sallyport.dev/v1',
  kind: 'EgressGateway',
  metadata: { name: 'egress', namespace: 'istio-system' },
}

/** TABLE: a slip in each kind of file, and what is said of it. */
const SLIPS = {
  'docker-compose.yml': [/cap_drop:/, 'cap_dropp:', /cap_dropp/],
  'compose/envoy.yaml': [/connect_timeout/, 'connect_time_out', /connect_time_out/],
  'compose/prometheus.yml': [/metrics_path/, 'metric_path', /metric_path/],
  'compose/grafana/datasources/prometheus.yaml': [/isDefault/, 'default', /default/],
  'compose/grafana/dashboards/sallyport.yaml': [/options:/, 'option:', /option/],
  'observability/rules.yaml': [/severity: warning/, 'severity: warn', /severity/],
  'observability/rules.test.yaml': [/eval_time/, 'evaltime', /evaltime/],
  'observability/kustomization.yaml': [/configMapGenerator/, 'configMapGenerators', /configMapGenerators/],
  'k8s/base/service.yaml': [/port: 80\b/, 'port: eighty', /port/],
  'config/minimal/gateway.yaml': [/resources:/, 'resource:', /resource/],
  'config/minimal/resources/httpbin.yaml': [/egressRules/, 'egressRule', /SP1030|SP1033/],
  'config/istio-egress/resources/gateway.yaml': [/protocol: HTTPS/, 'protocoll: HTTPS', /SP1030|SP1033/],
  'config/asm-egress/resources/workloads.yaml': [/kind: Deployment/, 'kind: Deploymint', /Deploymint/],
} as const satisfies Readonly<Record<string, readonly [RegExp, string, RegExp]>>

for (const [file, [from, into, says]] of Object.entries(SLIPS))
  test(`a slip in ${file} is seen`, () => {
    const text = readFileSync(path.join(ROOT, file), 'utf8')
    const slipped = text.replace(from, into)
    assert.notEqual(slipped, text)
    assert.match(problemsOf(file, slipped).join('\n'), says)
  })

test('a file that nobody has a schema for is seen', () => {
  assert.match(problemsOf('helm/values.yaml', 'replicas: 2\n').join(), /no schema for/)
  assert.match(problemsOf('k8s/base/a.yaml', 'apiVersion: batch/v2\nkind: Nothing\n').join(), /no schema for/)
  assert.match(problemsOf('k8s/base/empty.yaml', '').join(), /nothing in it/)
})
