/** Only what must be refused: by policy (IDENTITY=refused) or for want of a registration (IDENTITY=allowed). */
import { durationFrom, numberFrom, optionsOf, visitNext } from './lib/run.js'
import { summaryOf } from './lib/summary.js'

export const options = optionsOf(
  'deny',
  {
    executor: 'constant-arrival-rate',
    rate: numberFrom('RATE', 500),
    duration: durationFrom('2m'),
    preAllocatedVUs: numberFrom('VUS', 200)
  },
  { open: true, p95: numberFrom('P95', 50), p99: numberFrom('P99', 200) }
)

export function visit() {
  visitNext('deny')
}

/** @param {import('./lib/summary.js').SummaryData} data */
export function handleSummary(data) {
  return summaryOf('deny-mix', data)
}
