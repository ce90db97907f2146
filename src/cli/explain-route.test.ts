import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DEFAULT_RETRY, type ForwardAction, type RouteModel } from '../model/route.ts'
import { describeRoute } from './explain-route.ts'

const FORWARD: ForwardAction = {
  kind: 'forward',
  destinations: [{ cluster: 'outbound|80||a.example', weight: 1, headers: null }],
  timeoutMs: null,
  rewrite: null,
  retry: null,
  mirrors: [],
}
const route = (parts: Partial<RouteModel>): RouteModel => ({
  name: null,
  source: { file: 'a.yaml', line: 1, col: 1 },
  matches: [],
  action: FORWARD,
  headers: null,
  fault: null,
  cors: null,
  ...parts,
})

test('describeRoute: nothing to say of a route that just forwards, redirects or answers', () => {
  assert.deepEqual(describeRoute(route({})), [])
  assert.deepEqual(describeRoute(route({ action: { kind: 'direct', status: 418, body: '' } })), [])
})

test('describeRoute: faults, CORS, timeout, retries and mirrors, in the order they happen', () => {
  const lines = describeRoute(
    route({
      fault: {
        delay: { ms: 5000, percent: 0.1 },
        abort: { httpStatus: null, grpcStatus: 14, percent: 50 },
      },
      cors: {
        allowOrigins: [
          { kind: 'exact', value: 'https://a.example' },
          { kind: 'regex', value: '.*' },
        ],
        allowMethods: null,
        allowHeaders: null,
        exposeHeaders: null,
        maxAgeSeconds: null,
        allowCredentials: false,
        forwardUnmatchedPreflights: true,
      },
      action: {
        ...FORWARD,
        timeoutMs: 3000,
        retry: { ...DEFAULT_RETRY, on: ['5xx'], statusCodes: [418], perTryTimeoutMs: 500 },
        mirrors: [{ cluster: 'outbound|80||b.example', percent: 10 }],
      },
    }),
  )
  assert.deepEqual(lines, [
    'fault: 0.1% delayed by 5000 ms',
    'fault: 50% aborted with gRPC status 14',
    'cors: origins exact https://a.example, regex .*; other preflights are forwarded',
    'timeout: 3000 ms',
    'retries: up to 2 on 5xx, 418, each try at most 500 ms, back-off from 25 ms',
    'mirror: 10% to outbound|80||b.example',
  ])
})
