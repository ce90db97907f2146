/** What an expression of PromQL asks for, held against the tables of metrics: names and labels that we really export. */
import type { MetricRow } from '../../src/observe/metrics/family.ts'
import { METRICS } from '../../src/observe/metrics-doc.ts'

const ROWS: ReadonlyMap<string, MetricRow> = new Map(METRICS.flatMap(({ rows }) => Object.entries(rows)))
/** What Prometheus adds when it scrapes, and histograms have. */
const ADDED = ['job', 'instance', 'le']
const SELECTOR = /\b((?:sallyport|istio|envoy|process|nodejs)_\w+)(\{[^}]*\})?/g
const GROUPING = /\b(?:by|on|without|ignoring|group_left|group_right)\s*\(([^)]*)\)/g

/** The vector selectors of an expression: `name{label="value"}`. Label values must not hold a brace. */
export function selectorsOf(expr: string): readonly string[] {
  return [...expr.matchAll(SELECTOR)].map(([whole]) => whole)
}

function rowOf(name: string): MetricRow | null {
  const row = ROWS.get(name)
  if (row !== undefined) return row
  const histogram = ROWS.get(name.replace(/_(?:bucket|sum|count)$/, ''))
  return histogram?.type === 'histogram' ? histogram : null
}

/** Names and labels that nothing exports, in words; empty: all is well. `legend`: Grafana's, with `{{label}}`. */
export function unknownNames(expr: string, legend = ''): readonly string[] {
  const problems: string[] = []
  const known = new Set(ADDED)
  for (const [, name = '', matchers = ''] of expr.matchAll(SELECTOR)) {
    const row = rowOf(name)
    if (row === null) problems.push(`no metric ${name}`)
    for (const label of row?.labels ?? []) known.add(label)
    for (const [, label = ''] of matchers.matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g))
      if (row !== null && !row.labels.includes(label) && !ADDED.includes(label))
        problems.push(`${name} has no label ${label}`)
  }
  const grouped = [...expr.matchAll(GROUPING)].flatMap(([, labels = '']) =>
    labels.split(',').map((each) => each.trim()),
  )
  const shown = [...legend.matchAll(/\{\{(\w+)\}\}/g)].map(([, label = '']) => label)
  for (const label of [...grouped, ...shown])
    if (label !== '' && !known.has(label)) problems.push(`no metric of it has the label ${label}`)
  // An aggregation keeps only what it groups by.
  if (/\b(?:sum|min|max|count)\b/.test(expr))
    for (const label of shown) if (!grouped.includes(label)) problems.push(`the legend's ${label} was summed away`)
  return problems
}
