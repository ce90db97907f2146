/** The end of a run: all figures as JSON, the judged ones as Markdown, in RESULTS (default loadtest/results, from the repository's root). */

const RESULTS = __ENV.RESULTS || 'loadtest/results'

/** @typedef {{ values: { [stat: string]: number }, thresholds?: { [expression: string]: { ok: boolean } } }} Metric */
/** @typedef {{ metrics: { [name: string]: Metric }, state?: { testRunDurationMs: number } }} SummaryData */

/** @type {(value: number | undefined) => string} */
const figure = (value) => (value === undefined ? '–' : String(Math.round(value * 100) / 100))

/** @type {(data: SummaryData) => string} */
export function markdownOf(data) {
  const names = Object.keys(data.metrics).sort()
  const lines = ['| threshold | on | held |', '|---|---|---|']
  names.forEach((name) => {
    const thresholds = data.metrics[name].thresholds || {}
    Object.keys(thresholds).forEach((expression) => {
      lines.push(`| \`${expression}\` | \`${name}\` | ${thresholds[expression].ok ? 'yes' : '**NO**'} |`)
    })
  })
  lines.push('', '| latency, ms | median | p95 | p99 | max |', '|---|--:|--:|--:|--:|')
  names.forEach((name) => {
    if (name.indexOf('http_req_duration') !== 0) return
    const { values } = data.metrics[name]
    const stats = ['med', 'p(95)', 'p(99)', 'max'].map((stat) => figure(values[stat]))
    lines.push(`| \`${name}\` | ${stats.join(' | ')} |`)
  })
  const requests = data.metrics.http_reqs
  const dropped = data.metrics.dropped_iterations
  lines.push('', `Requests: ${requests ? figure(requests.values.count) : 0}, ${requests ? figure(requests.values.rate) : 0} a second. `)
  lines.push(`Arrivals that k6 could not start: ${dropped ? figure(dropped.values.count) : 0}.`)
  return `${lines.join('\n')}\n`
}

/**
 * For `handleSummary`: file names (and stdout) with their content.
 * @type {(script: string, data: SummaryData) => { [file: string]: string }}
 */
export function summaryOf(script, data) {
  const text = `## ${script}, identity ${__ENV.IDENTITY || 'allowed'}\n\n${markdownOf(data)}`
  const file = `${RESULTS}/${script}-${__ENV.IDENTITY || 'allowed'}`
  return { stdout: `\n${text}`, [`${file}.md`]: text, [`${file}.json`]: JSON.stringify(data, null, 2) }
}
