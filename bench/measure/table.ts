/** One workload's result as a Markdown table: a row per subject, medians, and a column of ratios per base. */
import { ratios, type Sample, type Subject, spread } from './rounds.ts'

export type Columns = {
  /** What `cost` is, with its unit: `CPU µs per request`. */
  readonly cost: string
  readonly digits: number
  readonly details: readonly { readonly name: string; readonly digits: number }[]
  /** Subjects that the others are divided by; those that are absent have no column. */
  readonly bases: readonly string[]
}

export function markdownTable(
  columns: Columns,
  subjects: readonly Subject[],
  samples: readonly (readonly Sample[])[],
): string {
  const bases = columns.bases.flatMap((name) => {
    const index = subjects.findIndex((subject) => subject.name === name)
    return index < 0 ? [] : [{ name, index }]
  })
  const head = [
    '',
    columns.cost,
    'min',
    ...columns.details.map(({ name }) => name),
    ...bases.map(({ name }) => `÷ ${name}`),
  ]
  const rows = subjects.map(({ name }, index) => {
    const own = samples[index] ?? []
    const cost = spread(own.map((sample) => sample.cost))
    const details = columns.details.map(({ digits }, at) => {
      const values = own.flatMap(({ details: all }) => all[at] ?? [])
      return values.length === 0 ? 'n/a' : spread(values).median.toFixed(digits)
    })
    const quotients = bases.map((base) => (base.index === index ? '1' : ratioText(own, samples[base.index] ?? [])))
    return [name, cost.median.toFixed(columns.digits), cost.min.toFixed(columns.digits), ...details, ...quotients]
  })
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`
  return [line(head), `|---|${'--:|'.repeat(head.length - 1)}`, ...rows.map(line)].join('\n')
}

/** `median (lowest–highest; middle half q1–q3)`. */
function ratioText(of: readonly Sample[], to: readonly Sample[]): string {
  const { median, min, max, q1, q3 } = ratios(of, to)
  const [m, low, high, first, third] = [median, min, max, q1, q3].map((value) => value.toFixed(2))
  return of.length < 2 ? `${m}` : `${m} (${low}–${high}; ½ ${first}–${third})`
}
