/** Callers speak HTTP, the gateway adds TLS: what originating TLS costs, next to load.js. */
import { durationFrom, numberFrom, optionsOf, visitNext } from './lib/run.js'
import { summaryOf } from './lib/summary.js'

export const options = optionsOf(
  'upgrade',
  {
    executor: 'constant-arrival-rate',
    rate: numberFrom('RATE', 300),
    duration: durationFrom('2m'),
    preAllocatedVUs: numberFrom('VUS', 200)
  },
  { open: true, p95: numberFrom('P95', 50), p99: numberFrom('P99', 200) }
)

export function visit() {
  visitNext('upgrade')
}

/** @param {import('./lib/summary.js').SummaryData} data */
export function handleSummary(data) {
  return summaryOf('https-upgrade', data)
}
