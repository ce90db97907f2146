/** A minute of little: is everything in place? On every change of policy or version. */
import { durationFrom, numberFrom, optionsOf, visitNext } from './lib/run.js'
import { summaryOf } from './lib/summary.js'

export const options = optionsOf(
  'mixed',
  { executor: 'constant-arrival-rate', rate: numberFrom('RATE', 10), duration: durationFrom('30s'), preAllocatedVUs: 10 },
  { open: true, p99: 1000 }
)

export function visit() {
  visitNext('mixed')
}

/** @param {import('./lib/summary.js').SummaryData} data */
export function handleSummary(data) {
  return summaryOf('smoke', data)
}
