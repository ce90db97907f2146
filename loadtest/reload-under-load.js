/**
 * Load while the configuration is reloaded, from another shell, as often as you like (README.md): no request may fail for it. The run fails if
 * no other configuration became active, or if the last one was rejected. METRICS is the gateway's metrics port.
 */
import { check } from 'k6'
import http from 'k6/http'
import { durationFrom, numberFrom, optionsOf, visitNext } from './lib/run.js'
import { summaryOf } from './lib/summary.js'
import { GATEWAY_NAME } from './mix.js'

const METRICS = __ENV.METRICS || `http://${GATEWAY_NAME}:15090/stats/prometheus`

export const options = optionsOf(
  'mixed',
  {
    executor: 'constant-arrival-rate',
    rate: numberFrom('RATE', 300),
    duration: durationFrom('2m'),
    preAllocatedVUs: numberFrom('VUS', 200)
  },
  { open: true, p99: numberFrom('P99', 500) }
)
options.thresholds = Object.assign({ 'checks{expect:reload}': ['rate==1'] }, options.thresholds)

/** @type {(text: string, name: string) => number} */
export function sample(text, name) {
  const line = text.split('\n').filter((each) => each.indexOf(`${name} `) === 0)[0]
  return line === undefined ? NaN : Number(line.split(' ')[1])
}

function gauges() {
  const { body } = http.get(METRICS, { responseType: 'text', tags: { name: 'metrics' } })
  const text = typeof body === 'string' ? body : ''
  return {
    generation: sample(text, 'sallyport_config_generation'),
    successful: sample(text, 'sallyport_config_last_reload_successful')
  }
}

export function setup() {
  return gauges()
}

export function visit() {
  visitNext('mixed')
}

/** @param {{ generation: number, successful: number }} before */
export function teardown(before) {
  const after = gauges()
  const checks = {
    'another configuration became active meanwhile': () => after.generation > before.generation,
    'the last reload was taken': () => after.successful === 1
  }
  check(null, checks, { expect: 'reload' })
}

/** @param {import('./lib/summary.js').SummaryData} data */
export function handleSummary(data) {
  return summaryOf('reload-under-load', data)
}
