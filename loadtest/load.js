/** The expected load, in an open model: arrivals do not wait for answers, so queueing shows as latency. */
import { durationFrom, numberFrom, optionsOf, visitNext } from './lib/run.js'
import { summaryOf } from './lib/summary.js'

export const options = optionsOf(
  'mixed',
  {
    executor: 'constant-arrival-rate',
    rate: numberFrom('RATE', 500),
    duration: durationFrom('5m'),
    preAllocatedVUs: numberFrom('VUS', 200)
  },
  { open: true, p95: numberFrom('P95', 50), p99: numberFrom('P99', 200) }
)

export function visit() {
  visitNext('mixed')
}

/** @param {import('./lib/summary.js').SummaryData} data */
export function handleSummary(data) {
  return summaryOf('load', data)
}
