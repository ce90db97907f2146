/** observability/dashboard.json: the table of panels as Grafana (schema 39, since 10.4) reads it. */
import { type Panel, ROWS, VARIABLES } from './panels.ts'

const DATASOURCE = { type: 'prometheus', uid: '${datasource}' }
const HEIGHTS = { stat: 4, timeseries: 8, table: 8 } as const satisfies Record<Panel['kind'], number>
const COLUMNS = 24

type GridPosition = { readonly h: number; readonly w: number; readonly x: number; readonly y: number }

function thresholds({ alarm, floor }: Panel) {
  const steps =
    alarm !== undefined
      ? [
          { color: 'green', value: null },
          { color: 'red', value: alarm },
        ]
      : floor !== undefined
        ? [
            { color: 'red', value: null },
            { color: 'green', value: floor },
          ]
        : [{ color: 'green', value: null }]
  return { mode: 'absolute', steps }
}

/** Below its name on the wire: what makes a kind of panel look as it does. */
const LOOKS = {
  stat: {
    custom: {},
    options: {
      colorMode: 'value',
      graphMode: 'area',
      reduceOptions: { calcs: ['lastNotNull'], fields: '', values: false },
    },
    transformations: [],
  },
  timeseries: {
    custom: { fillOpacity: 10, lineWidth: 1, showPoints: 'never' },
    options: {
      legend: { displayMode: 'table', placement: 'bottom', calcs: ['lastNotNull', 'max'] },
      tooltip: { mode: 'multi', sort: 'desc' },
    },
    transformations: [],
  },
  table: {
    custom: { filterable: true },
    options: { sortBy: [{ desc: true, displayName: 'Value' }] },
    transformations: [{ id: 'organize', options: { excludeByName: { Time: true } } }],
  },
} as const satisfies Record<Panel['kind'], object>

function panelJson(panel: Panel, id: number, gridPos: GridPosition) {
  const { custom, options, transformations } = LOOKS[panel.kind]
  const table = panel.kind === 'table'
  return {
    id,
    type: panel.kind,
    title: panel.title,
    ...(panel.description === undefined ? {} : { description: panel.description }),
    datasource: DATASOURCE,
    gridPos,
    fieldConfig: {
      defaults: {
        unit: panel.unit,
        min: 0,
        custom,
        thresholds: thresholds(panel),
        color: { mode: panel.kind === 'timeseries' ? 'palette-classic' : 'thresholds' },
      },
      overrides: [],
    },
    options,
    transformations,
    targets: panel.queries.map(({ expr, legend }, index) => ({
      refId: String.fromCharCode(65 + index),
      datasource: DATASOURCE,
      expr,
      ...(table
        ? { instant: true, format: 'table' }
        : { range: true, legendFormat: legend === '' ? '__auto' : legend.trim() }),
    })),
  }
}

/** Rows as Grafana wants them: a row panel, then its panels from left to right, a new line where the width is used up. */
function panels() {
  const all: object[] = []
  let y = 0
  for (const row of ROWS) {
    all.push({
      id: all.length + 1,
      type: 'row',
      title: row.title,
      collapsed: false,
      panels: [],
      gridPos: { h: 1, w: COLUMNS, x: 0, y },
    })
    y += 1
    let x = 0
    let height = 0
    for (const panel of row.panels) {
      if (x + panel.width > COLUMNS) {
        y += height
        x = 0
        height = 0
      }
      const h = HEIGHTS[panel.kind]
      all.push(panelJson(panel, all.length + 1, { h, w: panel.width, x, y }))
      x += panel.width
      height = Math.max(height, h)
    }
    y += height
  }
  return all
}

function variables() {
  const datasource = {
    name: 'datasource',
    label: 'Data source',
    type: 'datasource',
    query: 'prometheus',
    current: {},
    hide: 0,
  }
  const choices = VARIABLES.map(({ name, label, metric, from, all }) => ({
    name,
    label,
    type: 'query',
    datasource: DATASOURCE,
    query: { query: `label_values(${metric}, ${from})`, refId: name },
    refresh: 2,
    sort: 1,
    multi: true,
    includeAll: true,
    ...(all === undefined ? {} : { allValue: all }),
    current: { selected: true, text: ['All'], value: ['$__all'] },
  }))
  return [datasource, ...choices]
}

/** The whole file. */
export function renderDashboard(): string {
  const dashboard = {
    uid: 'sallyport',
    title: 'Sallyport egress gateway',
    description: 'Written by `npm run docs` from scripts/observability/panels.ts. Do not edit.',
    tags: ['sallyport', 'egress', 'istio'],
    schemaVersion: 39,
    version: 1,
    editable: true,
    graphTooltip: 1,
    time: { from: 'now-1h', to: 'now' },
    refresh: '30s',
    timezone: '',
    templating: { list: variables() },
    annotations: {
      list: [
        {
          name: 'Configuration activated',
          datasource: DATASOURCE,
          enable: true,
          iconColor: 'blue',
          expr: 'changes(sallyport_config_generation{job=~"$job",instance=~"$instance"}[$__rate_interval]) > 0',
        },
      ],
    },
    panels: panels(),
  }
  return `${JSON.stringify(dashboard, null, 2)}\n`
}
