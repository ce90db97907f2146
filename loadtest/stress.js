/** More and more, to find where latency turns up. Only correctness is judged: a refusal must not become an answer. */
import { durationFrom, numberFrom, optionsOf, visitNext } from './lib/run.js'
import { summaryOf } from './lib/summary.js'

/** Arrivals a second at the top. */
const PEAK = numberFrom('PEAK', 4000)

export const options = optionsOf(
  'mixed',
  {
    executor: 'ramping-arrival-rate',
    startRate: Math.round(PEAK / 20),
    timeUnit: '1s',
    preAllocatedVUs: numberFrom('VUS', 500),
    stages: [0.25, 0.5, 0.75, 1].map((part) => ({ target: Math.round(PEAK * part), duration: durationFrom('2m') }))
  },
  { correct: 0.99 }
)

export function visit() {
  visitNext('mixed')
}

/** @param {import('./lib/summary.js').SummaryData} data */
export function handleSummary(data) {
  return summaryOf('stress', data)
}
