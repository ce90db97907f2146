/** Which files hold configuration, and their text. Follows Kubernetes' volume mounts; reads nothing twice. */
import { readdirSync, readFileSync, realpathSync, statSync } from 'node:fs'
import path from 'node:path'
import type { SourceRef } from '../core/attributes.ts'
import type { Report } from './resource.ts'

/** Bytes of one file; the YAML tree of a file takes some 50 times its size in memory. */
export const MAX_FILE_BYTES = 16 * 1024 * 1024
const MAX_DIRECTORY_DEPTH = 16

const RESOURCE_FILE = /\.(?:ya?ml|json)$/i

/** How a path is shown in diagnostics. */
export type Display = (file: string) => string

/** Relative to the working directory where the file lies below it, else absolute. */
export const displayFromHere: Display = (file) => {
  const relative = path.relative(process.cwd(), file)
  return relative === '' || relative.startsWith('..') || path.isAbsolute(relative) ? file : relative
}

/**
 * The resource files of `paths` (files or directories, absolute): directories recursively, `*.yaml`, `*.yml`, `*.json`, sorted.
 * Hidden names and names that begin with `..` are skipped: Kubernetes mounts volumes as `..data` → `..2026_…`, and the
 * visible names are links into it. Each real file comes once, under its first name. A path that is not there is an error.
 * `namedAt`: where the path with this index is written down, if anywhere.
 */
export function listResourceFiles(
  paths: readonly string[],
  display: Display,
  report: Report,
  namedAt: (index: number) => SourceRef | null = () => null,
): readonly string[] {
  const files: string[] = []
  const seen = new Set<string>()
  const add = (file: string) => {
    const real = realpathSync(file)
    if (seen.has(real)) return
    seen.add(real)
    files.push(file)
  }
  const walk = (directory: string, parents: readonly string[]): void => {
    const real = realpathSync(directory)
    // A link back to a parent directory.
    if (parents.includes(real) || parents.length >= MAX_DIRECTORY_DEPTH) return
    for (const name of readdirSync(directory).sort()) {
      if (name.startsWith('.')) continue
      const entry = path.join(directory, name)
      attempt(entry, display, report, null, () => {
        if (statSync(entry).isDirectory()) walk(entry, [...parents, real])
        else if (RESOURCE_FILE.test(name)) add(entry)
      })
    }
  }
  for (const [index, given] of paths.entries()) {
    attempt(given, display, report, namedAt(index), () => {
      if (!statSync(given).isDirectory()) return add(given)
      const before = files.length
      walk(given, [])
      if (files.length === before && seen.size === before) {
        report('SP1005', top(display(given)), 'holds no *.yaml, *.yml or *.json file')
      }
    })
  }
  return files
}

/** The text of a file; null after a report when it cannot be read, is empty, too large or not UTF-8. */
export function readText(file: string, display: Display, report: Report): string | null {
  const at = top(display(file))
  let text: string | null = null
  attempt(file, display, report, null, () => {
    const { size } = statSync(file)
    if (size > MAX_FILE_BYTES) {
      report('SP1003', at, `has ${size} bytes; ${MAX_FILE_BYTES} are allowed`)
      return
    }
    const bytes = readFileSync(file)
    try {
      text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    } catch {
      report('SP1004', at, 'is not UTF-8')
      return
    }
    if (text.trim() === '') {
      report('SP1002', at, 'is empty', { fix: 'remove the file if its resources are meant to go' })
      text = null
    }
  })
  return text
}

export function top(file: string): SourceRef {
  return { file, line: 1, col: 1 }
}

function attempt(file: string, display: Display, report: Report, at: SourceRef | null, action: () => void): void {
  try {
    action()
  } catch (error) {
    if (!(error instanceof Error && 'code' in error)) throw error
    const reason = error.code === 'ENOENT' ? 'does not exist' : `cannot be read: ${error.message}`
    if (at === null) report('SP1001', top(display(file)), reason)
    else report('SP1001', at, `${display(file)} ${reason}`)
  }
}
