/** The files of observability/ as tests read them. */
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'

export const OBSERVABILITY = resolve(import.meta.dirname, '../../observability')

type Target = { readonly expr: string; readonly legendFormat?: string }
type Dashboard = {
  readonly uid: string
  readonly panels: readonly {
    readonly id: number
    readonly type: string
    readonly title: string
    readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number }
    readonly targets?: readonly Target[]
  }[]
  readonly templating: { readonly list: readonly { readonly name: string; readonly query: unknown }[] }
  readonly annotations: { readonly list: readonly { readonly expr: string }[] }
}

export function dashboard(): Dashboard {
  return JSON.parse(readFileSync(join(OBSERVABILITY, 'dashboard.json'), 'utf8')) as Dashboard
}

/** Every expression of every panel, with the panel's title. */
export function panelQueries(): readonly { readonly panel: string; readonly expr: string; readonly legend: string }[] {
  return dashboard().panels.flatMap(({ title, targets = [] }) =>
    targets.map(({ expr, legendFormat = '' }) => ({ panel: title, expr, legend: legendFormat })),
  )
}

/** `label_values(METRIC, LABEL)` of the choices at the top. */
export function variableQueries(): readonly {
  readonly name: string
  readonly metric: string
  readonly label: string
}[] {
  return dashboard().templating.list.flatMap(({ name, query }) => {
    const text = (query as { readonly query?: string }).query
    const parts = text === undefined ? null : /^label_values\((.*), (\w+)\)$/.exec(text)
    return parts === null ? [] : [{ name, metric: parts[1] ?? '', label: parts[2] ?? '' }]
  })
}

/** Names of the alerts, in order. */
export function alertNames(): readonly string[] {
  return [...readFileSync(join(OBSERVABILITY, 'rules.yaml'), 'utf8').matchAll(/^ +- alert: (\w+)$/gm)].map(
    ([, name = '']) => name,
  )
}

/** Alerts that promtool sees fire: those with an entry that expects something. */
export function alertsWithCase(): readonly string[] {
  const text = readFileSync(join(OBSERVABILITY, 'rules.test.yaml'), 'utf8')
  return [...text.matchAll(/^ +- alertname: (\w+)\n +eval_time: \S+\n +exp_alerts:\n +- exp_labels:/gm)].map(
    ([, name = '']) => name,
  )
}
