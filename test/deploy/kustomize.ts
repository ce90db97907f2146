/**
 * What of kustomize our kustomizations use, so that CI renders them where there is no kustomize: resources, components,
 * configMapGenerator (files; create or merge), patches by strategic merge (and deletion of a whole object), labels, images, namespace. Anything else throws, as does what
 * kustomize would not do either (a file above the kustomization, a patch without a target). kustomize.test.ts compares every
 * rendering with `kubectl kustomize` where kubectl is installed.
 */
import { existsSync, readFileSync, statSync } from 'node:fs'
import path from 'node:path'
import { parse, parseAllDocuments } from 'yaml'
import { type Fields, merged } from './strategic-merge.ts'

export type Manifest = {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: {
    readonly name: string
    readonly namespace?: string
    readonly labels?: Readonly<Record<string, string>>
  }
} & Fields

type Generator = {
  readonly name: string
  readonly namespace?: string
  readonly behavior?: 'merge'
  readonly files: readonly string[]
  readonly options: { readonly disableNameSuffixHash: true; readonly labels?: Readonly<Record<string, string>> }
}

type Image = { readonly name: string; readonly newName: string; readonly newTag: string }

type Kustomization = {
  readonly kind: 'Kustomization' | 'Component'
  readonly namespace?: string
  readonly resources?: readonly string[]
  readonly components?: readonly string[]
  readonly configMapGenerator?: readonly Generator[]
  readonly patches?: readonly { readonly path: string }[]
  readonly images?: readonly Image[]
  readonly labels?: readonly { readonly pairs: Readonly<Record<string, string>>; readonly includeTemplates: true }[]
}

/** Field → the fields allowed in each item of its list; null: a list of strings or a scalar. */
const KNOWN: Readonly<Record<string, readonly string[] | null>> = {
  apiVersion: null,
  kind: null,
  namespace: null,
  resources: null,
  components: null,
  configMapGenerator: ['name', 'namespace', 'behavior', 'files', 'options'],
  patches: ['path'],
  images: ['name', 'newName', 'newTag'],
  labels: ['pairs', 'includeTemplates'],
}

const CLUSTER_SCOPED: readonly string[] = ['Namespace']

/** Kind, namespace and name: what an object is known by. */
export const idOf = ({ kind, metadata }: Manifest): string => `${kind} ${metadata.namespace ?? ''}/${metadata.name}`

/** The objects that `kubectl kustomize DIR` prints, in no particular order. @throws on what is not kustomize's or not ours */
export function render(dir: string): readonly Manifest[] {
  return accumulated(dir, [])
}

/** Every document of a YAML file. @throws on a syntax error, a duplicate key, a document that is no object of Kubernetes */
export function readManifests(file: string): readonly Manifest[] {
  return parseAllDocuments(readFileSync(file, 'utf8')).map((document) => {
    if (document.errors.length > 0) throw new Error(`${file}: ${document.errors.join('; ')}`)
    const value = document.toJS() as Manifest | null
    if (typeof value?.kind !== 'string' || typeof value.metadata?.name !== 'string')
      throw new Error(`${file}: a document without kind and metadata.name`)
    return value
  })
}

function readKustomization(dir: string): Kustomization {
  const file = path.join(dir, 'kustomization.yaml')
  const value = parse(readFileSync(file, 'utf8')) as Record<string, unknown>
  for (const [key, content] of Object.entries(value)) {
    const fields = KNOWN[key]
    if (fields === undefined) throw new Error(`${file}: ${key} is not rendered here`)
    if (fields === null) continue
    for (const item of content as readonly object[])
      for (const name of Object.keys(item))
        if (!fields.includes(name)) throw new Error(`${file}: ${key}.${name} is not rendered here`)
  }
  const kustomization = value as unknown as Kustomization
  for (const { options, behavior } of kustomization.configMapGenerator ?? []) {
    if (options?.disableNameSuffixHash !== true) throw new Error(`${file}: name suffixes are not rendered here`)
    if (behavior !== undefined && behavior !== 'merge') throw new Error(`${file}: behavior ${String(behavior)}`)
  }
  return kustomization
}

/** A Kustomization starts from nothing, a Component from what the kustomization that names it has so far. */
function accumulated(dir: string, before: readonly Manifest[]): readonly Manifest[] {
  const kustomization = readKustomization(dir)
  const objects = new Map<string, Manifest>()
  const add = (each: Manifest) => {
    if (objects.has(idOf(each))) throw new Error(`${dir}: ${idOf(each)} twice`)
    objects.set(idOf(each), each)
  }
  before.forEach(add)
  for (const resource of kustomization.resources ?? []) {
    const file = path.join(dir, resource)
    if (statSync(file).isDirectory()) accumulatedOf(file, 'Kustomization', []).forEach(add)
    else readManifests(inside(dir, resource)).forEach(add)
  }
  for (const component of kustomization.components ?? []) {
    const all = accumulatedOf(path.join(dir, component), 'Component', [...objects.values()])
    objects.clear()
    all.forEach(add)
  }
  for (const generator of kustomization.configMapGenerator ?? []) {
    const made = configMap(dir, generator, kustomization.namespace)
    const existing = objects.get(idOf(made))
    if ((generator.behavior === 'merge') !== (existing !== undefined))
      throw new Error(
        `${dir}: ${idOf(made)} ${existing === undefined ? 'is not there to merge with' : 'is there already'}`,
      )
    objects.set(idOf(made), existing === undefined ? made : (merged(existing, made) as Manifest))
  }
  for (const { path: file } of kustomization.patches ?? [])
    for (const patch of readManifests(inside(dir, file))) {
      const target = [...objects.values()].filter((each) => isPatchOf(patch, each))
      const [only] = target
      if (only === undefined || target.length > 1) throw new Error(`${dir}/${file}: ${target.length} targets`)
      if (patch['$patch'] === 'delete') {
        objects.delete(idOf(only))
        continue
      }
      const { namespace: _, ...metadata } = patch.metadata
      objects.set(idOf(only), merged(only, { ...patch, metadata }) as Manifest)
    }
  return [...objects.values()].map((each) => transformed(each, kustomization))
}

function accumulatedOf(dir: string, kind: Kustomization['kind'], before: readonly Manifest[]): readonly Manifest[] {
  if (readKustomization(dir).kind !== kind) throw new Error(`${dir} is no ${kind}`)
  return accumulated(dir, before)
}

function isPatchOf(patch: Manifest, object: Manifest): boolean {
  const { apiVersion, kind, metadata } = patch
  if (metadata.namespace !== undefined && metadata.namespace !== object.metadata.namespace) return false
  return apiVersion === object.apiVersion && kind === object.kind && metadata.name === object.metadata.name
}

function configMap(dir: string, generator: Generator, defaultNamespace: string | undefined): Manifest {
  const namespace = generator.namespace ?? defaultNamespace
  const { labels } = generator.options
  const data = generator.files.map((entry) => {
    const [first = '', second] = entry.split('=')
    const file = second ?? first
    return [second === undefined ? path.basename(first) : first, readFileSync(inside(dir, file), 'utf8')] as const
  })
  return {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: {
      name: generator.name,
      ...(namespace === undefined ? {} : { namespace }),
      ...(labels === undefined ? {} : { labels }),
    },
    data: Object.fromEntries(data),
  }
}

/** kustomize reads files only at or below the kustomization. */
function inside(dir: string, file: string): string {
  const whole = path.join(dir, file)
  if (path.relative(dir, whole).startsWith('..')) throw new Error(`${dir}: ${file} lies above the kustomization`)
  if (!existsSync(whole)) throw new Error(`${whole} does not exist`)
  return whole
}

function transformed(object: Manifest, { namespace, labels = [], images = [] }: Kustomization): Manifest {
  const pairs = Object.assign({}, ...labels.map((each) => each.pairs)) as Readonly<Record<string, string>>
  const scoped = namespace !== undefined && !CLUSTER_SCOPED.includes(object.kind)
  if (namespace !== undefined && object.kind === 'Namespace' && object.metadata.name !== namespace)
    throw new Error(`Namespace ${object.metadata.name} in a kustomization for ${namespace}`)
  const metadata = { ...object.metadata, ...(scoped ? { namespace } : {}) }
  const labelled = withImages({ ...object, metadata }, images)
  if (Object.keys(pairs).length === 0) return labelled
  const template = (object['spec'] as Fields | undefined)?.['template']
  const inTemplate = template === undefined ? {} : { spec: { template: { metadata: { labels: pairs } } } }
  return merged(labelled, { metadata: { labels: pairs }, ...inTemplate }) as Manifest
}

function withImages(object: Manifest, images: readonly Image[]): Manifest {
  if (object.kind !== 'Deployment' || images.length === 0) return object
  const renamed = (container: Fields): Fields => {
    const image = images.find(({ name }) => String(container['image']).startsWith(`${name}:`))
    return image === undefined ? container : { ...container, image: `${image.newName}:${image.newTag}` }
  }
  const { template } = object['spec'] as { readonly template: { readonly spec: Record<string, readonly Fields[]> } }
  const lists = ['containers', 'initContainers'].flatMap((name) => {
    const list = template.spec[name]
    return list === undefined ? [] : [[name, list.map(renamed)] as const]
  })
  const spec = { ...template.spec, ...Object.fromEntries(lists) }
  return { ...object, spec: { ...(object['spec'] as Fields), template: { ...template, spec } } }
}
