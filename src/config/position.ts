/** Where each canonical path of a document stands in its file. */
import type { SourceRef } from '../core/attributes.ts'

/** `at` is an offset: of the value for scalars and list items, of the key for maps and lists under a key. */
export type PositionTree = { readonly at: number; readonly children: ReadonlyMap<string | number, PositionTree> }

export type Path = readonly (string | number)[]

const NO_CHILDREN: ReadonlyMap<string | number, PositionTree> = new Map()

export function leafPosition(at: number): PositionTree {
  return { at, children: NO_CHILDREN }
}

/** The offset of `path`, or of its nearest ancestor that is present. */
export function positionOf(tree: PositionTree, path: Path): number {
  let node = tree
  for (const step of path) {
    const next = node.children.get(step)
    if (next === undefined) break
    node = next
  }
  return node.at
}

/** A function for `Resource.at`: canonical path → place in the file. */
export function locator(
  tree: PositionTree,
  locate: (offset: number) => SourceRef,
): (...path: readonly (string | number)[]) => SourceRef {
  return (...path) => locate(positionOf(tree, path))
}

/** `spec.http[0].headers["x-a.b"]`, as diagnostics show it. */
export function formatPath(path: Path): string {
  let text = ''
  for (const step of path) {
    if (typeof step === 'number') text += `[${step}]`
    else if (/^[A-Za-z0-9_-]+$/.test(step)) text += text === '' ? step : `.${step}`
    else text += `[${JSON.stringify(step)}]`
  }
  return text
}

const steps = new Map<string, readonly string[]>()

/** Globs come from tables: a few, asked for again with every resource. */
function stepsOf(glob: string): readonly string[] {
  let found = steps.get(glob)
  if (found === undefined) {
    found = glob.replaceAll('[]', '.[]').split('.')
    steps.set(glob, found)
  }
  return found
}

/**
 * All present paths that a glob of `UnsupportedField.path` means: dotted, `[]` for every list item, `*` for every map
 * key. `spec.http[].retries` finds `spec.http[0].retries`, `spec.http[3].retries` …
 */
export function findPaths(tree: PositionTree, glob: string): { readonly path: Path; readonly at: number }[] {
  let found: { path: (string | number)[]; node: PositionTree }[] = [{ path: [], node: tree }]
  for (const step of stepsOf(glob)) {
    const next: typeof found = []
    for (const { path, node } of found) {
      for (const [key, child] of node.children) {
        const matches =
          step === '[]' ? typeof key === 'number' : typeof key === 'string' && (step === '*' || step === key)
        if (matches) next.push({ path: [...path, key], node: child })
      }
    }
    found = next
  }
  return found.map(({ path, node }) => ({ path, at: node.at }))
}
