/** Extension providers that write access-log lines (`envoyFileAccessLog`), and the one whose metrics are scraped. */
import path from 'node:path'
import { z } from 'zod'
import type { FileLogProvider, PrometheusProvider } from '../model/extension-providers.ts'
import type { CheckAccessLogFormat } from './bootstrap.ts'
import type { ProviderPlace } from './provider-service.ts'
import type { Report, Resource } from './resource.ts'
import { bool, text } from './schema.ts'

/** A protobuf Struct: numbers, booleans and lists may stand among the texts. */
const labels = z.record(z.string(), z.unknown())

export const FILE_ACCESS_LOG = z.object({
  path: text.default('/dev/stdout'),
  logFormat: z.object({ text: text.optional(), labels: labels.optional() }).optional(),
  omitEmptyValues: bool.default(false),
})
export const PROMETHEUS = z.object({})

type FileAccessLog = z.output<typeof FILE_ACCESS_LOG>

export function lowerPrometheus(_spec: object, { head }: ProviderPlace): PrometheusProvider {
  return { ...head, type: 'prometheus' }
}

/** Operators are checked by `checkFileLogs`: they are not this layer's. null, reported as SP8404. */
export function lowerFileAccessLog(spec: FileAccessLog, { head, at, report }: ProviderPlace): FileLogProvider | null {
  const { logFormat, omitEmptyValues } = spec
  // Istio gives an empty path this meaning.
  const file = spec.path === '' ? '/dev/stdout' : spec.path
  if (!path.isAbsolute(file)) {
    report('SP8404', at('path'), `the path ${JSON.stringify(file)} of the provider ${head.name} is not absolute`, {
      fix: 'write /dev/stdout, or the whole path of a file',
    })
    return null
  }
  if (logFormat?.text !== undefined && logFormat.labels !== undefined) {
    report('SP8404', at('logFormat'), `the provider ${head.name} has a format as text and as labels`, {
      fix: 'keep one of the two',
    })
    return null
  }
  const base = { ...head, type: 'envoyFileAccessLog', path: file, omitEmptyValues } as const
  if (logFormat?.labels !== undefined) {
    const none = Object.keys(logFormat.labels).length === 0
    return { ...base, encoding: 'JSON', format: none ? '' : JSON.stringify(logFormat.labels) }
  }
  if (logFormat === undefined && head.name === 'envoy' && !omitEmptyValues)
    return { ...base, encoding: null, format: '' }
  return { ...base, encoding: 'TEXT', format: logFormat?.text ?? '' }
}

type Entry = { readonly name: string; readonly envoyFileAccessLog?: unknown }

/** Reports what is wrong with the operators of every format, at the label or the text that holds them (SP8404). */
export function checkFileLogs(
  entries: readonly Entry[],
  at: Resource['at'],
  report: Report,
  check: CheckAccessLogFormat,
): void {
  for (const [index, { name, envoyFileAccessLog }] of entries.entries()) {
    // The schema of the item has vouched for it.
    const { logFormat } = (envoyFileAccessLog ?? {}) as Partial<FileAccessLog>
    const here = (where: readonly (string | number)[], problem: string | null) => {
      if (problem === null) return
      const source = at(index, 'envoyFileAccessLog', 'logFormat', ...where)
      report('SP8404', source, `access-log format of the provider ${name}: ${problem}`)
    }
    if (logFormat?.text !== undefined) here(['text'], check('TEXT', logFormat.text))
    for (const [where, template] of templatesOf(logFormat?.labels ?? {}, ['labels']))
      here(where, check('JSON', JSON.stringify({ value: template })))
  }
}

type Path = readonly (string | number)[]

function templatesOf(value: unknown, where: Path): readonly (readonly [Path, string])[] {
  if (typeof value === 'string') return [[where, value]]
  if (Array.isArray(value)) return value.flatMap((item, index) => templatesOf(item, [...where, index]))
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([key, item]) => templatesOf(item, [...where, key]))
}
