/** Ten times the load within five seconds, and back: does it recover, and does nothing slip out meanwhile? */
import { durationFrom, numberFrom, optionsOf, visitNext } from './lib/run.js'
import { summaryOf } from './lib/summary.js'

/** Arrivals a second at the top. */
const PEAK = numberFrom('PEAK', 3000)

export const options = optionsOf(
  'mixed',
  {
    executor: 'ramping-arrival-rate',
    startRate: Math.round(PEAK / 10),
    timeUnit: '1s',
    preAllocatedVUs: numberFrom('VUS', 500),
    stages: [
      { target: Math.round(PEAK / 10), duration: '30s' },
      { target: PEAK, duration: '5s' },
      { target: PEAK, duration: durationFrom('30s') },
      { target: Math.round(PEAK / 10), duration: '5s' },
      { target: Math.round(PEAK / 10), duration: '1m' }
    ]
  },
  { correct: 0.99 }
)

export function visit() {
  visitNext('mixed')
}

/** @param {import('./lib/summary.js').SummaryData} data */
export function handleSummary(data) {
  return summaryOf('spike', data)
}
