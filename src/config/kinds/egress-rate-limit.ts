/**
 * EgressRateLimit (sallyport.dev/v1alpha1), our own kind: schema and what can be judged from the resource alone. What it
 * means for this gateway is config/rate-limits.ts; how to write one, docs/rate-limits.md.
 */
import { z } from 'zod'
import { pathTemplateError } from '../../core/path-template.ts'
import { LIMIT_KEYS } from '../../model/limits.ts'
import { parseQuantity } from '../quantity.ts'
import type { KindModule, Report, Resource } from '../resource.ts'
import { int, stringMap, text } from '../schema.ts'
import { missingKeys } from './egress-rate-limit-keys.ts'

const list = z.array(text).optional()

const source = z.object({
  principals: list,
  notPrincipals: list,
  namespaces: list,
  notNamespaces: list,
  serviceAccounts: list,
  notServiceAccounts: list,
})

const operation = z.object({
  hosts: list,
  notHosts: list,
  methods: list,
  notMethods: list,
  paths: list,
  notPaths: list,
})

/** Integers, also quoted, and Kubernetes quantities: 500k, 10Mi. */
const count = z.union([z.number(), z.string()]).transform((value, context) => {
  const quantity = parseQuantity(value)
  if (quantity === null)
    context.addIssue({
      code: 'custom',
      message: `must be a whole number of at least 1, as 1000, 500k or 10Mi: ${JSON.stringify(value)}`,
    })
  return quantity ?? 1
})
const per = z.enum(['second', 'minute', 'hour', 'day'])
const direction = z.enum(['egress', 'ingress', 'both'])

const limit = z.object({
  name: text.regex(/^[A-Za-z0-9]([-._A-Za-z0-9]{0,61}[A-Za-z0-9])?$/, 'must be 1–63 letters, digits, -, _ or .'),
  from: z.array(source).optional(),
  to: z.array(operation).optional(),
  key: z.array(z.enum(LIMIT_KEYS)),
  requests: z.object({ count, per, burst: count.optional() }).optional(),
  bytes: z.object({ count, per, burst: count.optional(), direction: direction.optional() }).optional(),
  tunnels: z.object({ count }).optional(),
  budget: z
    .object({
      requests: count.optional(),
      bytes: count.optional(),
      direction: direction.optional(),
      per: z.enum(['day', 'month']),
      warnAt: int(1, 100).optional(),
    })
    .optional(),
  scope: z.enum(['local', 'global']).optional(),
  mode: z.enum(['enforce', 'shadow']).optional(),
  onStoreFailure: z.enum(['open', 'closed', 'local']).optional(),
})

const schema = z.object({
  selector: z.object({ matchLabels: stringMap.optional() }).optional(),
  limits: z.array(limit).min(1).max(100),
})

export type EgressRateLimitSpec = z.infer<typeof schema>
export type LimitSpec = z.infer<typeof limit>
export type LimitSourceSpec = z.infer<typeof source>
export type LimitOperationSpec = z.infer<typeof operation>

type RateLimit = Resource<EgressRateLimitSpec>
type Path = readonly (string | number)[]

/** What a limit counts: exactly one of them. */
const QUOTAS = ['requests', 'bytes', 'tunnels', 'budget'] as const

export const egressRateLimit: KindModule<EgressRateLimitSpec> = {
  kind: 'EgressRateLimit',
  group: 'sallyport.dev',
  versions: ['v1alpha1'],
  unknownKeys: 'error',
  schema,
  specOptional: false,
  unsupported: [],
  notes: [
    {
      path: 'spec.limits[].to[].methods',
      is: 'limited',
      why: 'tunnels have no method: a limit that lists methods does not count them',
    },
    {
      path: 'spec.limits[].to[].paths',
      is: 'limited',
      why: 'tunnels have no path: a limit that lists paths does not count them',
    },
  ],
  check(resource, report) {
    const names = new Set<string>()
    for (const [i, spec] of resource.spec.limits.entries()) {
      const path = ['spec', 'limits', i]
      if (names.has(spec.name)) report('SP8000', resource.at(...path, 'name'), `two limits are called ${spec.name}`)
      names.add(spec.name)
      checkQuota(resource, spec, path, report)
      checkScope(resource, spec, path, report)
      checkLists(resource, spec, path, report)
      checkKey(resource, spec, path, report)
    }
  },
}

function checkQuota(resource: RateLimit, spec: LimitSpec, path: Path, report: Report): void {
  const given = QUOTAS.filter((quota) => spec[quota] !== undefined)
  if (given.length !== 1)
    report(
      'SP8001',
      resource.at(...path, given[1] ?? 'name'),
      `limit ${spec.name} counts ${given.join(' and ') || 'nothing'}`,
      {
        fix: 'write exactly one of requests, bytes, tunnels and budget; a second limit for a second count',
      },
    )
  const { budget } = spec
  if (budget === undefined) return
  const at = (field: string) => resource.at(...path, 'budget', field)
  if ((budget.requests === undefined) === (budget.bytes === undefined))
    report('SP8001', at('bytes'), `the budget of limit ${spec.name} needs either requests or bytes`)
  if (budget.direction !== undefined && budget.bytes === undefined)
    report('SP8001', at('direction'), 'direction is for bytes')
}

function checkScope(resource: RateLimit, { scope = 'local', onStoreFailure }: LimitSpec, path: Path, report: Report) {
  const at = resource.at(...path, onStoreFailure === undefined ? 'scope' : 'onStoreFailure')
  if (scope === 'global' && onStoreFailure === undefined)
    report('SP8002', at, 'a global limit needs onStoreFailure: what holds while Redis cannot be asked', {
      fix: 'open (not limited), closed (refused) or local (each process counts for itself)',
    })
  if (scope === 'local' && onStoreFailure !== undefined)
    report('SP8002', at, 'onStoreFailure is for scope: global; a local limit asks nobody')
}

function checkLists(resource: RateLimit, { from, to }: LimitSpec, path: Path, report: Report): void {
  for (const [part, entries] of [
    ['from', from],
    ['to', to],
  ] as const) {
    if (entries === undefined) continue
    const fix = `leave out \`${part}\` to mean any`
    if (entries.length === 0) report('SP8003', resource.at(...path, part), `\`${part}\` is empty`, { fix })
    for (const [i, entry] of entries.entries()) {
      const here = [...path, part, i]
      const fields = Object.entries(entry) as readonly (readonly [string, readonly string[] | undefined])[]
      if (fields.every(([, values]) => values === undefined))
        report('SP8003', resource.at(...here), `an entry of \`${part}\` says nothing`, { fix })
      for (const [field, values = null] of fields) {
        if (values === null) continue
        // In a `not` list it would take nothing away, in another one it would match nothing: neither is what was meant.
        if (values.length === 0) report('SP8003', resource.at(...here, field), `${field} is empty`)
        for (const [k, value] of values.entries()) {
          const why = valueProblem(field, value)
          if (why !== null) report('SP8003', resource.at(...here, field, k), `${field}: ${why}`)
        }
      }
    }
  }
}

function valueProblem(field: string, value: string): string | null {
  if (value === '') return 'an empty string matches nothing'
  if (field === 'paths' || field === 'notPaths') {
    const problem = pathTemplateError(value)
    return problem === null ? null : `${JSON.stringify(value)}: ${problem}`
  }
  if (field !== 'serviceAccounts' && field !== 'notServiceAccounts') return null
  if (value.includes('*')) return `${JSON.stringify(value)}: wildcards are not allowed`
  const parts = value.split('/')
  return parts.length > 2 || parts.includes('') ? `${JSON.stringify(value)}: write NAMESPACE/NAME or NAME` : null
}

/** Never silently open: who has no such key would otherwise be counted by nothing, or all of them together. */
function checkKey(resource: RateLimit, spec: LimitSpec, path: Path, report: Report): void {
  for (const [k, key] of spec.key.entries())
    if (spec.key.indexOf(key) !== k) report('SP8000', resource.at(...path, 'key', k), `${key} is in key twice`)
  for (const { key, index, fix } of missingKeys(spec)) {
    const what = `limit ${spec.name} counts by ${key}, and also applies to callers that have none`
    report('SP8004', resource.at(...path, 'key', index), what, { fix })
  }
}
