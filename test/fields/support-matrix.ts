/**
 * docs/support-matrix.md: what becomes of every field of every kind, from the tables that the program itself reads by
 * (config/kinds, config/bootstrap-schema.ts, config/unbuilt-fields.ts) and from the titles of the tests.
 */
import type { z } from 'zod'
import { BOOTSTRAP } from '../../src/config/bootstrap-schema.ts'
import { type FieldPaths, fieldPaths } from '../../src/config/field-paths.ts'
import { classifyKind } from '../../src/config/kind-lookup.ts'
import { KINDS } from '../../src/config/kinds/index.ts'
import type { KindModule } from '../../src/config/resource.ts'
import { UNBUILT_FIELDS } from '../../src/config/unbuilt-fields.ts'
import { testSources } from '../threats/document.ts'
import { type FieldName, filesByField } from './field-titles.ts'

export type Status = 'honoured' | 'without effect here' | 'warned about' | 'refused'

export type MatrixRow = {
  readonly kind: string
  /** Below `spec`; of the bootstrap the whole path. */
  readonly path: string
  readonly status: Status
  /** '' where there is nothing to say. */
  readonly why: string
}

/** The kinds of which every field has a test that names it. */
export const TESTED_KINDS: readonly string[] = [
  'Gateway',
  'VirtualService',
  'DestinationRule',
  'ServiceEntry',
  'WorkloadEntry',
  'AuthorizationPolicy',
  'RequestAuthentication',
  'ASMEgressTrafficPolicy',
  'EgressRateLimit',
  'Telemetry',
]

export function pathsOf(module: KindModule): FieldPaths {
  return fieldPaths(module.schema as z.ZodType, (path) => Object.hasOwn(module.sameAs ?? {}, path))
}

/** The row of a table for a field: its own, or its nearest ancestor's. */
function noted<Row extends { readonly path: string }>(rows: readonly Row[], path: string): Row | null {
  const own = (row: Row) => row.path === path || path.startsWith(`${row.path}.`) || path.startsWith(`${row.path}[]`)
  const found = rows.filter(own).toSorted((a, b) => b.path.length - a.path.length)
  return found[0] ?? null
}

const NOTES = { inert: 'without effect here', refused: 'refused', limited: 'honoured' } as const

export function rowsOf(module: KindModule): readonly MatrixRow[] {
  const row = (path: string, status: Status, why: string) => ({ kind: module.kind, path, status, why })
  return pathsOf(module).leaves.map((path) => {
    const unsupported = noted(module.unsupported, `spec.${path}`)
    if (unsupported !== null)
      return unsupported.severity === 'warning'
        ? row(path, 'warned about', unsupported.why)
        : row(path, 'refused', `where the resource applies: ${unsupported.why}`)
    const same = module.sameAs?.[path]
    const note = noted(module.notes ?? [], `spec.${path}`)
    const why = [same === undefined ? '' : `the fields of ${same}`, note?.why ?? ''].filter((each) => each !== '')
    return row(path, note === null ? 'honoured' : NOTES[note.is], why.join('; '))
  })
}

export function bootstrapRows(): readonly MatrixRow[] {
  return fieldPaths(BOOTSTRAP).leaves.map((path) => {
    const unbuilt = UNBUILT_FIELDS.find(({ field }) => path === `spec.${field}`)
    const why = unbuilt === undefined ? '' : `${unbuilt.why}; ${unbuilt.fix}`
    const status = unbuilt === undefined ? 'honoured' : 'refused'
    return { kind: 'EgressGateway', path, status, why }
  })
}

/** True when a title proves the field: it names it, or everything below a map of fields by `.*`. */
export function proves(title: FieldName, field: FieldName, known: ReadonlySet<FieldName>): boolean {
  if (title === field) return true
  return title.endsWith('.*') && !known.has(title) && field.startsWith(title.slice(0, -1))
}

/** Every field and block that a title may name, `KIND.path`. */
export function knownNames(modules: readonly KindModule[] = KINDS): ReadonlySet<FieldName> {
  return new Set(modules.flatMap((module) => [...pathsOf(module).all].map((path) => `${module.kind}.${path}`)))
}

/** Kinds that are not read, as examples of what happens to such. */
const OTHERS: readonly (readonly [apiVersion: string, kind: string])[] = [
  ['networking.istio.io/v1alpha3', 'EnvoyFilter'],
  ['networking.istio.io/v1', 'Sidecar'],
  ['networking.istio.io/v1beta1', 'ProxyConfig'],
  ['networking.istio.io/v1', 'WorkloadGroup'],
  ['security.istio.io/v1', 'PeerAuthentication'],
  ['extensions.istio.io/v1alpha1', 'WasmPlugin'],
  ['istio.alibabacloud.com/v1', 'ASMSwimLane'],
  ['gateway.networking.k8s.io/v1', 'HTTPRoute'],
  ['v1', 'Service'],
  ['v1', 'ServiceAccount'],
  ['v1', 'Namespace'],
  ['networking.k8s.io/v1', 'NetworkPolicy'],
  ['security.istio.io/v1', 'AuthorisationPolicy'],
  ['networking.istio.io/v2', 'Gateway'],
]

function otherRow([apiVersion, kind]: (typeof OTHERS)[number]): string {
  const group = apiVersion.includes('/') ? apiVersion.slice(0, apiVersion.indexOf('/')) : ''
  const found = classifyKind({ apiVersion, group, kind }, KINDS)
  const what =
    found.type === 'error'
      ? `refused: ${found.message}${found.fix === null ? '' : `; ${found.fix}`}`
      : found.type === 'passed-over'
        ? found.mesh
          ? 'passed over with a warning: it may have restricted traffic'
          : 'passed over, told once'
        : 'read'
  return `| ${kind} | ${apiVersion} | ${what} |`
}

const cell = (text: string) => text.replaceAll('|', '\\|').replaceAll('*', '\\*')
const code = (text: string) => `\`${text.replaceAll('|', '\\|')}\``

function table(rows: readonly MatrixRow[], tests: ((row: MatrixRow) => readonly string[]) | null): string {
  const head = `| field | | |${tests === null ? '' : ' tests |'}\n|---|---|---|${tests === null ? '' : '---|'}\n`
  const lines = rows.map((row) => {
    const files = tests === null ? '' : ` ${tests(row).map(code).join(', ')} |`
    return `| ${code(row.path)} | ${row.status} | ${cell(row.why)} |${files}\n`
  })
  return head + lines.join('')
}

function kindSection(module: KindModule, files: ReadonlyMap<FieldName, readonly string[]>): string {
  const { kind, group, versions } = module
  const known = knownNames([module])
  const tests = ({ path }: MatrixRow) =>
    [...files]
      .filter(([title]) => proves(title, `${kind}.${path}`, known))
      .flatMap(([, each]) => each.map((file) => file.replace(/^test\/|\.test\.ts$/g, '')))
      .filter((file, index, all) => all.indexOf(file) === index)
      .toSorted()
  const rows = rowsOf(module)
  const where = group === '' ? 'core' : group
  const whole = module.unsupported.find(({ path }) => path === 'spec')
  const unknown = module.unknownKeys === 'error' ? 'errors' : 'warnings (inside a `tls` block errors)'
  const intro =
    rows.length > 0 && !WORKLOADS.includes(kind)
      ? `Unknown fields are ${unknown}.\n\n${table(rows, TESTED_KINDS.includes(kind) ? tests : null)}`
      : (whole?.why ?? '')
  return `## ${kind}\n\n\`${where}\`: ${versions.join(', ')}. ${intro}\n`
}

const WORKLOADS = ['Pod', 'Deployment', 'StatefulSet', 'DaemonSet', 'Job', 'CronJob']

/** The whole Markdown file. */
export function renderSupportMatrix(): string {
  const files = filesByField(testSources().filter(({ file }) => file.startsWith('test/')))
  const kinds = KINDS.filter(({ kind }) => !WORKLOADS.includes(kind))
  const counts = (['honoured', 'without effect here', 'warned about', 'refused'] as const).map((status) => {
    const count = kinds.flatMap(rowsOf).filter((row) => row.status === status).length
    return `${count} ${status}`
  })
  const workloads = KINDS.filter(({ kind }) => WORKLOADS.includes(kind)).map(({ kind }) => kind)
  return `# Support matrix

<!-- Written by \`npm run docs\` from src/config/kinds, src/config/bootstrap-schema.ts, src/config/unbuilt-fields.ts and the titles of the tests. Do not edit. -->

What becomes of each field of each kind. Nothing is ignored silently: a field is **honoured**; **without effect here**, because a
gateway has no use for it, as in Istio; **warned about**, where leaving it out cannot widen access; or **refused**, with its file,
line and column. Fields of the resources: ${counts.join(', ')}.

\`[]\` stands for the items of a list, \`*\` for the keys of a map. The last column names the tests, below \`test/\`, that send traffic
through a whole gateway and fail if the field is ignored; their titles begin with \`field KIND.path\`. To run those of one field:
\`./bin/sallyport-node --test --test-name-pattern "field .*retries.attempts" "test/**/*.test.ts"\`

${kinds.map((module) => kindSection(module, files)).join('\n')}
## Workloads

${workloads.join(', ')}: read only to learn which pod labels go with which service account (\`workloadSelector\`); everything else
in them is passed over.

## Other kinds

A kind that is not read is passed over and told once; one of the mesh with a warning, because it may have restricted traffic. A
misspelt kind, or a version that does not exist, is an error. Examples:

| kind | apiVersion | |
|---|---|---|
${OTHERS.map(otherRow).join('\n')}

## EgressGateway

The bootstrap file, \`sallyport.dev/v1\`. Unknown fields are errors.

${table(bootstrapRows(), null)}`
}
