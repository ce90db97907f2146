/** A moderate load for hours. Watch process_resident_memory_bytes, sallyport_open_connections and nodejs_heap_used_bytes meanwhile. */
import { durationFrom, numberFrom, optionsOf, visitNext } from './lib/run.js'
import { summaryOf } from './lib/summary.js'

export const options = optionsOf(
  'mixed',
  {
    executor: 'constant-arrival-rate',
    rate: numberFrom('RATE', 200),
    duration: durationFrom('2h'),
    preAllocatedVUs: numberFrom('VUS', 100)
  },
  { correct: 0.9999, p95: numberFrom('P95', 50), p99: numberFrom('P99', 200) }
)

export function visit() {
  visitNext('mixed')
}

/** @param {import('./lib/summary.js').SummaryData} data */
export function handleSummary(data) {
  return summaryOf('soak', data)
}
