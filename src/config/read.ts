/** Resource files → Resources: YAML, envelope, canonical walk, schema, checks. All findings of all files in one run. */
import type { SourceRef } from '../core/attributes.ts'
import { canonicalise, holdsTls } from './canonical.ts'
import { type Envelope, METADATA, openDocument, TOP_LEVEL } from './envelope.ts'
import { type Display, listResourceFiles, readText, top } from './files.ts'
import { reportIssues } from './issues.ts'
import { classifyKind } from './kind-lookup.ts'
import { nearest } from './nearest.ts'
import { findPaths, formatPath, leafPosition, locator, type PositionTree } from './position.ts'
import type { KindModule, Report, Resource, UnsupportedField } from './resource.ts'
import { parseYaml } from './yaml.ts'
import type { YamlEntry } from './yaml-tree.ts'

export type ReadOptions = {
  readonly kinds: readonly KindModule[]
  /** Where resources without a namespace belong: the gateway's. */
  readonly defaultNamespace: string
  readonly display: Display
  /** Where each of the paths is written down; null: on the command line. */
  readonly namedAt?: (index: number) => SourceRef | null
}

/** A known field that is not implemented and was written. Whether it is an error depends on whether the resource applies. */
export type UnsupportedFinding = {
  readonly resource: Resource
  readonly field: UnsupportedField
  /** `spec.http[0].retries`. */
  readonly path: string
  readonly at: SourceRef
}

export type ReadResult = {
  readonly resources: readonly Resource[]
  readonly unsupported: readonly UnsupportedFinding[]
}

/** Reads every resource of `paths` (absolute files and directories). Never throws on content. */
export function readResources(paths: readonly string[], options: ReadOptions, report: Report): ReadResult {
  const reader = new Reader(options, report)
  for (const file of listResourceFiles(paths, options.display, report, options.namedAt)) {
    const text = readText(file, options.display, report)
    if (text !== null) reader.file(text, options.display(file))
  }
  return reader.finish()
}

class Reader {
  readonly #options: ReadOptions
  readonly #report: Report
  readonly #resources: Resource[] = []
  readonly #unsupported: UnsupportedFinding[] = []
  /** group/kind/namespace/name → where it stands. */
  readonly #places = new Map<string, SourceRef>()
  readonly #passedOver = new Map<string, { readonly at: SourceRef; readonly mesh: boolean; count: number }>()

  constructor(options: ReadOptions, report: Report) {
    this.#options = options
    this.#report = report
  }

  file(text: string, name: string): void {
    // Errors of other documents must not hide that a file has none at all: count what was written, not what was readable.
    let findings = 0
    const report: Report = (...finding) => {
      findings += 1
      this.#report(...finding)
    }
    const documents = parseYaml(text, name, report)
    if (documents.length === 0 && findings === 0) report('SP1005', top(name), 'holds no document, only comments')
    for (const document of documents) {
      for (const envelope of openDocument(document, report)) this.#envelope(envelope)
    }
  }

  finish(): ReadResult {
    for (const [kind, { at, mesh, count }] of this.#passedOver) {
      const often = count === 1 ? '' : ` (${count} of them)`
      if (mesh) this.#report('SP1022', at, `${kind} is not read${often}; it may have restricted traffic`)
      else this.#report('SP1021', at, `${kind} is passed over${often}`)
    }
    return { resources: this.#resources, unsupported: this.#unsupported }
  }

  #envelope(envelope: Envelope): void {
    const found = classifyKind(envelope, this.#options.kinds)
    const at = envelope.locate(envelope.root.at)
    switch (found.type) {
      case 'known':
        return this.#resource(envelope, found.module)
      case 'error':
        return this.#report('SP1023', at, found.message, found.fix === null ? {} : { fix: found.fix })
      case 'passed-over': {
        const kind = `${envelope.kind} (${envelope.group === '' ? envelope.apiVersion : envelope.group})`
        const entry = this.#passedOver.get(kind)
        if (entry === undefined) this.#passedOver.set(kind, { at, mesh: found.mesh, count: 1 })
        else entry.count += 1
      }
    }
  }

  #resource(envelope: Envelope, module: KindModule): void {
    const { root, locate } = envelope
    this.#topLevel(envelope, module)
    const metadata = this.#metadata(envelope, module)
    const spec = this.#spec(envelope, module)
    if (metadata === null) return
    const { name, labels, annotations } = metadata.value
    const namespace = metadata.value.namespace ?? this.#options.defaultNamespace
    if (metadata.value.namespace === undefined) {
      const message = `${envelope.kind} ${name} has no namespace; it belongs to the gateway's, ${namespace}`
      this.#report('SP1025', locate(metadata.positions.at), message, { fix: `write namespace: ${namespace}` })
    }
    if (this.#isDuplicate(envelope, namespace, name) || spec === null) return
    const children = new Map<string | number, PositionTree>([
      ['metadata', metadata.positions],
      ['spec', spec.positions],
    ])
    for (const key of ['apiVersion', 'kind'] as const) {
      const entry = root.entries.get(key)
      if (entry !== undefined) children.set(key, leafPosition(entry.value.at))
    }
    const positions: PositionTree = { at: root.at, children }
    const resource: Resource = {
      apiVersion: envelope.apiVersion,
      kind: envelope.kind,
      namespace,
      name,
      labels,
      annotations,
      spec: spec.value,
      at: locator(positions, locate),
    }
    this.#resources.push(resource)
    for (const field of module.unsupported) {
      for (const { path, at } of findPaths(positions, field.path)) {
        this.#unsupported.push({ resource, field, path: formatPath(path), at: locate(at) })
      }
    }
    module.check?.(resource, this.#report)
  }

  #topLevel({ root, locate }: Envelope, module: KindModule): void {
    for (const [key, entry] of root.entries) {
      if ((TOP_LEVEL as readonly string[]).includes(key)) continue
      const guess = nearest(key, TOP_LEVEL)
      // As in the canonical walk: what secures a connection is never passed over.
      const severity = key === 'tls' || holdsTls(entry.value) ? 'error' : module.unknownKeys
      const message = `unknown key ${JSON.stringify(key)} in the resource${severity === 'error' ? '' : ', passed over'}`
      this.#report('SP1030', locate(entry.keyAt), message, {
        severity,
        ...(guess === null ? {} : { fix: `did you mean ${guess}?` }),
      })
    }
  }

  #metadata({ root, locate, kind }: Envelope, module: KindModule) {
    const entry = root.entries.get('metadata')
    if (entry === undefined || entry.value.kind !== 'map') {
      this.#report('SP1024', locate(entry?.keyAt ?? root.at), `${kind} without metadata.name`)
      return null
    }
    const options = { unknownKeys: module.unknownKeys, snakeCase: false, nulls: 'absent' } as const
    const { value, positions } = canonicalise(METADATA, entry.value, ['metadata'], options, this.#report, locate)
    const placed = { at: entry.keyAt, children: positions.children }
    const parsed = METADATA.safeParse(value)
    if (parsed.success) return { value: parsed.data, positions: placed }
    reportIssues(parsed.error.issues, value, ['metadata'], placed, locate, (code, ...finding) =>
      this.#report(code === 'SP1000' || code === 'SP1033' ? 'SP1024' : code, ...finding),
    )
    return null
  }

  #spec({ root, locate, kind }: Envelope, module: KindModule): { value: unknown; positions: PositionTree } | null {
    const entry = root.entries.get('spec')
    if (entry === undefined || isNull(entry)) {
      if (!module.specOptional) {
        this.#report('SP1033', locate(entry?.keyAt ?? root.at), `${kind} without spec`)
        return null
      }
      const parsed = module.schema.safeParse({})
      const at = entry?.keyAt ?? root.at
      if (parsed.success) return { value: parsed.data, positions: leafPosition(at) }
      reportIssues(parsed.error.issues, {}, ['spec'], leafPosition(at), locate, this.#report)
      return null
    }
    const { unknownKeys } = module
    // Kinds whose unknown keys are errors are the ones that restrict: there an empty value is refused as well.
    const options = { unknownKeys, snakeCase: true, nulls: unknownKeys === 'error' ? 'refused' : 'absent' } as const
    const { value, positions } = canonicalise(module.schema, entry.value, ['spec'], options, this.#report, locate)
    const placed = { at: entry.keyAt, children: positions.children }
    const parsed = module.schema.safeParse(value)
    if (parsed.success) return { value: parsed.data, positions: placed }
    reportIssues(parsed.error.issues, value, ['spec'], placed, locate, this.#report)
    return null
  }

  #isDuplicate({ root, locate, kind, group }: Envelope, namespace: string, name: string): boolean {
    const key = JSON.stringify([group, kind, namespace, name])
    const first = this.#places.get(key)
    if (first === undefined) {
      this.#places.set(key, locate(root.at))
      return false
    }
    const message = `${kind} ${namespace}/${name} stands twice; the other is at ${first.file}:${first.line}:${first.col}`
    this.#report('SP1026', locate(root.at), message, { fix: 'remove one of the two' })
    return true
  }
}

function isNull(entry: YamlEntry): boolean {
  return entry.value.kind === 'scalar' && entry.value.value === null
}
