/** What one http rule becomes (behaviour §4.5, 4.6). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DEFAULT_RETRY } from '../model/route.ts'
import { testResource } from '../testing/resources.ts'
import { lowerRule, NS } from '../testing/virtual-services.ts'
import { destinationRule } from './kinds/destination-rule.ts'
import type { Resource } from './resource.ts'

test('forwarding: clusters, weights, timeout, rewrite, headers', () => {
  const { route, findings: found } = lowerRule({
    name: 'r',
    match: [
      {
        name: 'm',
        uri: { prefix: '/x' },
        headers: { 'X-A': { exact: '1' }, method: {}, 'x-p': {}, 'x-r': { regex: '*' } },
        ignoreUriCase: true,
      },
    ],
    route: [
      { destination: { host: 'a.com' }, weight: 9 },
      { destination: { host: 'b.com', port: { number: 80 } }, weight: 1, headers: { response: { remove: ['X-B'] } } },
      { destination: { host: 'gone.com', port: { number: 80 } }, weight: 0 },
    ],
    timeout: '3s',
    rewrite: { uri: '/y', authority: 'B.com' },
    headers: { request: { add: { 'X-C': 'd' } } },
  })
  assert.deepEqual(found, [])
  assert.deepEqual(route?.action, {
    kind: 'forward',
    destinations: [
      { cluster: 'outbound|80||a.com', weight: 9, headers: null },
      {
        cluster: 'outbound|80||b.com',
        weight: 1,
        headers: { request: { set: [], add: [], remove: [] }, response: { set: [], add: [], remove: ['x-b'] } },
      },
    ],
    timeoutMs: 3000,
    rewrite: { uri: '/y', authority: 'b.com', uriRegex: null },
    retry: DEFAULT_RETRY,
    mirrors: [],
  })
  assert.deepEqual(route.headers?.request.add, [['x-c', 'd']])
  const [match] = route.matches
  assert.equal(match?.name, 'm')
  assert.equal(match.ignoreUriCase, true)
  assert.deepEqual(match.headers, [
    { name: 'x-a', match: { kind: 'exact', value: '1' } },
    { name: 'x-p', match: { kind: 'present' } },
    { name: 'x-r', match: { kind: 'present' } },
  ])
})

test('the weight of an only destination means nothing; timeout 0 is none', () => {
  const { route } = lowerRule({ route: [{ destination: { host: 'a.com' }, weight: 0 }], timeout: '0s' })
  assert.deepEqual(route?.action, {
    kind: 'forward',
    destinations: [{ cluster: 'outbound|80||a.com', weight: 1, headers: null }],
    timeoutMs: null,
    rewrite: null,
    retry: DEFAULT_RETRY,
    mirrors: [],
  })
})

test('an unknown destination names a cluster that does not exist, with a warning', () => {
  const { route, findings: found } = lowerRule({ route: [{ destination: { host: 'gone.com', port: { number: 80 } } }] })
  assert.deepEqual(found, ['SP7001 route.0.destination'])
  assert.equal(route?.action.kind === 'forward' && route.action.destinations[0]?.cluster, 'outbound|80||gone.com')
})

test('redirects and direct responses', () => {
  assert.deepEqual(lowerRule({ redirect: { uri: '/x', derivePort: 1, scheme: 'https' } }).route?.action, {
    kind: 'redirect',
    code: 301,
    uri: '/x',
    replacesPrefix: false,
    authority: null,
    scheme: 'https',
    port: 'FROM_REQUEST_PORT',
  })
  const prefix = (uri: string) => {
    const action = lowerRule({ redirect: { uri } }).route?.action
    return action?.kind === 'redirect' ? [action.uri, action.replacesPrefix] : null
  }
  assert.deepEqual(prefix('%PREFIX()%/new'), ['/new', true])
  assert.deepEqual(prefix('%PREFIX()%'), ['', true])
  assert.deepEqual(lowerRule({ directResponse: { status: 418, body: { string: 'é' } } }).route?.action, {
    kind: 'direct',
    status: 418,
    body: 'w6k=',
  })
})

const route = [{ destination: { host: 'a.com' } }]

function forward(fields: Record<string, unknown>) {
  const action = lowerRule({ route, ...fields }).route?.action
  assert.equal(action?.kind, 'forward')
  return action
}

test('rewrites by expression', () => {
  const { rewrite } = forward({ rewrite: { uriRegexRewrite: { match: '^/a(.*)', rewrite: '/b\\1' } } })
  assert.deepEqual(rewrite, { uri: null, authority: null, uriRegex: { pattern: '^/a(.*)', substitution: '/b\\1' } })
})

test('retries: Istio’s default, what is written over it, and off', () => {
  assert.deepEqual(forward({}).retry, DEFAULT_RETRY)
  assert.equal(forward({ retries: {} }).retry, null)
  assert.equal(forward({ retries: { attempts: 0 } }).retry, null)
  assert.deepEqual(forward({ retries: { attempts: 5 } }).retry, { ...DEFAULT_RETRY, attempts: 5 })
  const retries = {
    attempts: 3,
    perTryTimeout: '2s',
    retryOn: '5xx, 429,Reset',
    retryRemoteLocalities: true,
    retryIgnorePreviousHosts: false,
    backoff: '100ms',
  }
  assert.deepEqual(forward({ retries }).retry, {
    attempts: 3,
    on: ['5xx', 'reset', 'retriable-status-codes'],
    statusCodes: [429],
    perTryTimeoutMs: 2000,
    backoffMs: 100,
    ignorePreviousHosts: false,
    remoteLocalities: true,
  })
  assert.equal(forward({ retries: { attempts: 1, perTryTimeout: '0s' } }).retry?.perTryTimeoutMs, null)
})

test('retries stay with the endpoint that a hash chose, unless told otherwise', () => {
  const hashing = testResource(
    destinationRule,
    { name: 'd', namespace: NS },
    { host: 'a.com', trafficPolicy: { loadBalancer: { consistentHash: { useSourceIp: true } } } },
  ) as Resource
  const ignores = (retries?: object) => {
    const { action } = lowerRule({ route, ...(retries === undefined ? {} : { retries }) }, hashing).route ?? {}
    return action?.kind === 'forward' ? action.retry?.ignorePreviousHosts : undefined
  }
  assert.equal(ignores(), false)
  assert.equal(ignores({ attempts: 2 }), false)
  assert.equal(ignores({ attempts: 2, retryIgnorePreviousHosts: true }), true)
})

test('faults: an absent percentage is 0', () => {
  const fault = (fields: Record<string, unknown>) => lowerRule({ route, fault: fields }).route?.fault
  assert.deepEqual(
    fault({
      delay: { fixedDelay: '2s', percentage: { value: 0.5 } },
      abort: { httpStatus: 418, percentage: { value: 100 } },
    }),
    { delay: { ms: 2000, percent: 0.5 }, abort: { httpStatus: 418, grpcStatus: null, percent: 100 } },
  )
  assert.deepEqual(fault({ abort: { grpcStatus: 'UNAVAILABLE', percentage: { value: 1 } } }), {
    delay: null,
    abort: { httpStatus: null, grpcStatus: 14, percent: 1 },
  })
  assert.deepEqual(fault({ delay: { fixedDelay: '1s', percent: 7 } })?.delay, { ms: 1000, percent: 7 })
  assert.deepEqual(fault({ delay: { fixedDelay: '1s', percent: 7, percentage: {} } }), null)
  assert.equal(fault({ delay: { fixedDelay: '1s' }, abort: { httpStatus: 503 } }), null)
})

test('mirrors: all requests unless a percentage says otherwise; none at 0', () => {
  const b = { host: 'b.com' }
  const cluster = 'outbound|80||b.com'
  assert.deepEqual(forward({ mirror: b }).mirrors, [{ cluster, percent: 100 }])
  assert.deepEqual(forward({ mirror: b, mirrorPercent: 5 }).mirrors, [{ cluster, percent: 5 }])
  assert.deepEqual(forward({ mirror: b, mirrorPercent: 5, mirrorPercentage: { value: 0.1 } }).mirrors, [
    { cluster, percent: 0.1 },
  ])
  assert.deepEqual(forward({ mirror: b, mirrorPercentage: {} }).mirrors, [])
  const mirrors = [
    { destination: b },
    { destination: { host: 'a.com' }, percentage: { value: 2 } },
    { destination: b, percentage: { value: 0 } },
  ]
  assert.deepEqual(forward({ mirrors }).mirrors, [
    { cluster, percent: 100 },
    { cluster: 'outbound|80||a.com', percent: 2 },
  ])
  assert.deepEqual(lowerRule({ route, mirror: { host: 'gone.com', port: { number: 80 } } }).findings, ['SP7001 mirror'])
})

test('corsPolicy', () => {
  const cors = (fields: Record<string, unknown>) => lowerRule({ route, corsPolicy: fields }).route?.cors
  assert.deepEqual(
    cors({
      allowOrigins: [{ exact: 'https://a' }, { prefix: 'https://b' }, { regex: '.*' }],
      allowMethods: ['GET', 'POST'],
      allowHeaders: ['x-a', 'x-b'],
      exposeHeaders: ['x-c'],
      maxAge: '90s',
      allowCredentials: true,
      unmatchedPreflights: 'IGNORE',
    }),
    {
      allowOrigins: [
        { kind: 'exact', value: 'https://a' },
        { kind: 'prefix', value: 'https://b' },
        { kind: 'regex', value: '.*' },
      ],
      allowMethods: 'GET,POST',
      allowHeaders: 'x-a,x-b',
      exposeHeaders: 'x-c',
      maxAgeSeconds: 90,
      allowCredentials: true,
      forwardUnmatchedPreflights: false,
    },
  )
  const bare = cors({ allowOrigin: ['*'] })
  assert.deepEqual(bare?.allowOrigins, [{ kind: 'exact', value: '*' }])
  assert.deepEqual([bare.allowMethods, bare.maxAgeSeconds, bare.forwardUnmatchedPreflights], [null, null, true])
})
