/** docs/metrics.md, written from the tables. */
import { ENVOY_METRICS } from './metrics/envoy.ts'
import type { MetricRow } from './metrics/family.ts'
import { ISTIO_METRICS } from './metrics/istio.ts'
import { REQUEST_METRICS } from './metrics/own.ts'
import { STATE_METRICS } from './metrics/state.ts'

/** TABLE of all families, by section. */
export const METRICS: readonly {
  readonly title: string
  readonly intro: string
  readonly rows: Readonly<Record<string, MetricRow>>
}[] = [
  {
    title: "Sallyport's own",
    intro:
      'Label values that callers choose are bounded: the first 1000 callers, 500 names below wildcards and 500 names that went nowhere get their own series, later ones are `other`; hosts that the configuration names exactly always have their own. `none` means there is none (no identity, no policy, no host).',
    rows: { ...REQUEST_METRICS, ...STATE_METRICS },
  },
  {
    title: "Istio's standard metrics",
    intro:
      'As an egress gateway reports them, for the dashboards that exist: `reporter="source"`, the gateway is the source workload, the registered host the destination. Callers are not in them.',
    rows: ISTIO_METRICS,
  },
  { title: "Envoy's counters", intro: 'Also at `:15000/stats` under their Envoy names.', rows: ENVOY_METRICS },
]

const cell = (text: string) => text.replaceAll('|', '\\|')
const labels = (row: MetricRow) => (row.labels.length === 0 ? '–' : row.labels.map((label) => `\`${label}\``).join(' '))

/** The whole Markdown file. */
export function renderMetricsDoc(): string {
  const sections = METRICS.map(({ title, intro, rows }) => {
    const lines = Object.entries(rows).map(
      ([name, row]) => `| \`${name}\` | ${row.type} | ${cell(row.help)} | ${labels(row)} |`,
    )
    return `## ${title}\n\n${intro}\n\n| Name | Type | Meaning | Labels |\n|---|---|---|---|\n${lines.join('\n')}\n`
  })
  return `# Metrics\n\nGenerated from the tables in \`src/observe/metrics/\`; do not edit. Served at \`:15090/stats/prometheus\` and \`:15000/stats/prometheus\`.\n\n${sections.join('\n')}`
}
