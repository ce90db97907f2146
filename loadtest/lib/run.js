/**
 * What all scripts share: options from the environment, one request of the mix, thresholds by tag. One k6 process is one workload: k6 sends
 * the first certificate of `tlsAuth` that fits, whatever `domains` says (grafana/k6#5153), so IDENTITY chooses the certificate.
 */
import { check } from 'k6'
import exec from 'k6/execution'
import http from 'k6/http'
import { Counter } from 'k6/metrics'
import { GATEWAY_NAME, leaked, MIXES, rotation, verdict } from '../mix.js'

const IDENTITY = __ENV.IDENTITY === 'refused' ? 'refused' : 'allowed'
if (__ENV.IDENTITY && __ENV.IDENTITY !== IDENTITY) throw new Error(`IDENTITY=${__ENV.IDENTITY}: allowed or refused`)
/** The gateway's Gateway port 80, as HOST:PORT. */
const GATEWAY = __ENV.GATEWAY || `${GATEWAY_NAME}:8080`
/** Folder of the identity: cert-chain.pem, key.pem. */
const CERTS = __ENV.CERTS || '/etc/certs'

const leaks = new Counter('leaks')
const rotations = { mixed: rotation(MIXES.mixed[IDENTITY]), deny: rotation(MIXES.deny[IDENTITY]), upgrade: rotation(MIXES.upgrade[IDENTITY]) }

/** @type {(name: string, fallback: number) => number} */
export function numberFrom(name, fallback) {
  const text = __ENV[name]
  if (!text) return fallback
  const value = Number(text)
  if (!(value > 0)) throw new Error(`${name}=${text}: a number above 0`)
  return value
}

/** @type {(fallback: string) => string} */
export const durationFrom = (fallback) => __ENV.DURATION || fallback

/**
 * @typedef {object} Limits
 * @property {number} [p95] ms; absent: latency is reported, not judged
 * @property {number} [p99] ms
 * @property {boolean} [open] arrivals that k6 could not start fail the run
 * @property {number} [correct] lowest share of correct answers, 1 unless told otherwise
 */

/**
 * Options of one script. Thresholds only for tags that occur: k6 fails a threshold without a sample.
 * @type {(mix: import('../mix.d.ts').MixName, scenario: import('k6/options').Scenario, limits: Limits) => import('k6/options').Options}
 */
export function optionsOf(mix, scenario, limits) {
  /** @type {{ [name: string]: import('k6/options').Threshold[] }} */
  const thresholds = { leaks: [{ threshold: 'count==0', abortOnFail: true }] }
  if (limits.open) thresholds.dropped_iterations = ['count==0']
  const share = limits.correct || 1
  rotations[mix].forEach(({ expect }) => {
    // A rate above 0 that is watched from the start would end the run at its first stumble.
    thresholds[`checks{expect:${expect}}`] = [
      { threshold: `rate>=${share}`, abortOnFail: share === 1, delayAbortEval: '5s' }
    ]
    thresholds[`http_req_failed{expect:${expect}}`] = [`rate<=${share === 1 ? 0 : (1 - share).toFixed(4)}`]
    const durations = []
    if (limits.p95) durations.push(`p(95)<${limits.p95}`)
    if (limits.p99) durations.push(`p(99)<${limits.p99}`)
    if (durations.length === 0) durations.push('max>=0') // always true: its row is in the summary
    thresholds[`http_req_duration{expect:${expect}}`] = durations
  })
  return {
    scenarios: { [mix]: Object.assign({ exec: 'visit' }, scenario) },
    thresholds,
    tlsAuth: [{ cert: open(`${CERTS}/cert-chain.pem`), key: open(`${CERTS}/key.pem`) }],
    // The gateway's certificate has a SPIFFE ID, which k6 cannot compare, and perhaps no name.
    insecureSkipTLSVerify: true,
    discardResponseBodies: true,
    noUsageReport: true,
    maxRedirects: 0,
    summaryTrendStats: ['avg', 'min', 'med', 'p(90)', 'p(95)', 'p(99)', 'p(99.9)', 'max'],
    tags: { identity: IDENTITY }
  }
}

/**
 * One request, the next of the mix.
 * @type {(mix: import('../mix.d.ts').MixName) => void}
 */
export function visitNext(mix) {
  const steps = rotations[mix]
  const step = steps[exec.scenario.iterationInTest % steps.length]
  const tags = { expect: step.expect, host: step.host, name: step.name }
  const response = http.request(step.method, `https://${GATEWAY}${step.path}`, step.body, {
    headers: { Host: step.host },
    tags,
    responseType: step.contains === null ? 'none' : 'text',
    responseCallback: http.expectedStatuses(step.status)
  })
  const answer = {
    status: response.status,
    reason: response.headers['X-Sallyport-Reason'] || null,
    body: typeof response.body === 'string' ? response.body : null
  }
  /** @type {{ [name: string]: () => boolean }} */
  const checks = {}
  const outcome = verdict(step, answer)
  Object.keys(outcome).forEach((name) => {
    checks[name] = () => outcome[name]
  })
  check(response, checks, tags)
  leaks.add(leaked(step, answer) ? 1 : 0)
}
