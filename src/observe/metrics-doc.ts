/** docs/metrics.md, written from the tables. */
import { ENVOY_METRICS } from './metrics/envoy.ts'
import type { MetricRow } from './metrics/family.ts'
import { ISTIO_METRICS } from './metrics/istio.ts'
import { LIMIT_METRICS } from './metrics/limits.ts'
import { REQUEST_METRICS } from './metrics/own.ts'
import { SHARED_METRICS } from './metrics/shared.ts'
import { STATE_METRICS } from './metrics/state.ts'
import { TOKEN_METRICS } from './metrics/tokens.ts'

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
    rows: { ...REQUEST_METRICS, ...LIMIT_METRICS, ...STATE_METRICS, ...SHARED_METRICS, ...TOKEN_METRICS },
  },
  {
    title: "Istio's standard metrics",
    intro:
      'As an egress gateway reports them, for the dashboards that exist: `reporter="source"`, the gateway is the source workload, the registered host the destination. Callers are not in them, unless a `Telemetry` says so: `metrics[].overrides[]` adds, changes and removes labels ([expressions](access-log.md#expressions)) and turns families off. A family with labels of its own counts from the reload that brought them, at most 2000 series (400 of a histogram), then `other`.',
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
