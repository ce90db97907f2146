/**
 * The requests of the load tests: who asks for what, and what must come back. No imports and no syntax after ES2015 (k6 0.45): k6
 * runs it, and so does test/deploy/loadtest.test.ts, against a whole gateway. Sites and policies are those of compose/gateway/resources:
 * workloads of the namespace shop may leave, nobody else.
 */

export const GATEWAY_NAME = 'istio-egressgateway.istio-system.svc.cluster.local'

/** @type {(step: Pick<import('./mix.d.ts').Step, 'name' | 'host' | 'status' | 'weight'> & Partial<import('./mix.d.ts').Step>) => import('./mix.d.ts').Step} */
const step = (given) =>
  Object.assign({ method: 'GET', path: '/anything/load', body: null, expect: 'allow', reason: null, contains: null }, given)

/** @type {(host: string, weight: number) => import('./mix.d.ts').Step} */
const denied = (host, weight) =>
  step({ name: `denied: GET ${host}`, host, weight, expect: 'deny', status: 403, reason: 'rbac_denied' })

const plain = step({ name: 'GET plain.example', host: 'plain.example', status: 200, weight: 6 })
const post = step({ name: 'POST plain.example', host: 'plain.example', status: 200, weight: 1, method: 'POST', body: 'x=1' })
// The site says by which scheme it was asked: TLS was added on the way.
const upgraded = step({
  name: 'GET upgraded.example',
  host: 'upgraded.example',
  status: 200,
  weight: 2,
  contains: 'https://upgraded.example/anything/load'
})
const unregistered = step({
  name: 'denied: GET unregistered.example',
  host: 'unregistered.example',
  weight: 1,
  expect: 'deny',
  status: 502,
  reason: 'not_registered'
})
// Policy is asked before the registry: 403 also for a host that nobody registered.
const refused = [denied('plain.example', 6), denied('upgraded.example', 2), denied('unregistered.example', 1)]

/** @type {typeof import('./mix.d.ts').MIXES} */
export const MIXES = {
  mixed: { allowed: [plain, upgraded, post, unregistered], refused },
  deny: { allowed: [unregistered], refused },
  upgrade: { allowed: [upgraded], refused: [denied('upgraded.example', 1)] }
}

/** @type {typeof import('./mix.d.ts').rotation} */
export function rotation(steps) {
  /** @type {{ at: number, each: import('./mix.d.ts').Step }[]} */
  const places = []
  steps.forEach((each) => {
    for (let turn = 0; turn < each.weight; turn += 1) places.push({ at: (turn + 0.5) / each.weight, each })
  })
  return places.sort((a, b) => a.at - b.at).map((place) => place.each)
}

/** @type {typeof import('./mix.d.ts').verdict} */
export function verdict(expected, answer) {
  const { status, reason, contains } = expected
  /** @type {{ [check: string]: boolean }} */
  const checks = {
    'status is the expected one': answer.status === status,
    'x-sallyport-reason is the expected one': answer.reason === reason
  }
  if (contains !== null) checks['the site was asked as configured'] = (answer.body || '').indexOf(contains) >= 0
  return checks
}

/** @type {typeof import('./mix.d.ts').leaked} */
export function leaked(expected, answer) {
  return expected.expect === 'deny' && answer.status >= 200 && answer.status < 400
}
