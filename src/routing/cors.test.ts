/** Cross-origin requests as Envoy's filter answers them. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { CorsModel } from '../model/route.ts'
import { httpRequest } from '../testing/routes.ts'
import { compileCors, corsAnswer, corsResponseHeaders } from './cors.ts'

const base: CorsModel = {
  allowOrigins: [
    { kind: 'exact', value: 'https://a.com' },
    { kind: 'regex', value: 'https://.*\\.b\\.com' },
  ],
  allowMethods: 'GET,POST',
  allowHeaders: 'x-a',
  exposeHeaders: 'x-e',
  maxAgeSeconds: 60,
  allowCredentials: false,
  forwardUnmatchedPreflights: true,
}
const cors = (fields: Partial<CorsModel> = {}) => compileCors({ ...base, ...fields })
const preflight = (origin: string, method = 'OPTIONS') =>
  httpRequest({ method, headers: ['origin', origin, 'access-control-request-method', 'PUT'] })

test('a preflight from an allowed origin is answered here', () => {
  assert.deepEqual(corsAnswer(cors(), preflight('https://a.com')), {
    status: 200,
    headers: [
      ...['access-control-allow-origin', 'https://a.com'],
      ...['access-control-allow-methods', 'GET,POST'],
      ...['access-control-allow-headers', 'x-a'],
      ...['access-control-max-age', '60'],
    ],
  })
  const bare = cors({ allowMethods: null, allowHeaders: null, maxAgeSeconds: null, allowCredentials: true })
  assert.deepEqual(corsAnswer(bare, preflight('https://x.b.com'))?.headers, [
    ...['access-control-allow-origin', 'https://x.b.com'],
    ...['access-control-allow-credentials', 'true'],
  ])
})

test('other origins: to the upstream, or an answer that allows nothing', () => {
  for (const origin of ['https://a.com.evil.io', 'http://a.com', 'https://xb.com', 'null']) {
    assert.equal(corsAnswer(cors(), preflight(origin)), null, origin)
    const here = corsAnswer(cors({ forwardUnmatchedPreflights: false }), preflight(origin))
    assert.deepEqual(here, { status: 200, headers: [] }, origin)
    assert.deepEqual(corsResponseHeaders(cors(), preflight(origin)), [], origin)
  }
})

test('what is no preflight goes on', () => {
  assert.equal(corsAnswer(cors(), preflight('https://a.com', 'GET')), null)
  assert.equal(corsAnswer(cors(), preflight('')), null)
  assert.equal(corsAnswer(cors(), httpRequest({ method: 'OPTIONS', headers: ['origin', 'https://a.com'] })), null)
  assert.equal(corsAnswer(cors(), httpRequest({ method: 'OPTIONS' })), null)
  assert.equal(corsAnswer(null, preflight('https://a.com')), null)
})

test('ordinary answers carry origin, credentials and exposed names', () => {
  const get = httpRequest({ headers: ['origin', 'https://a.com'] })
  assert.deepEqual(corsResponseHeaders(cors({ allowCredentials: true }), get), [
    ...['access-control-allow-origin', 'https://a.com'],
    ...['access-control-allow-credentials', 'true'],
    ...['access-control-expose-headers', 'x-e'],
  ])
  assert.deepEqual(corsResponseHeaders(cors(), httpRequest()), [])
  assert.deepEqual(corsResponseHeaders(null, get), [])
})

test('what matches a star matches every origin', () => {
  for (const all of [{ kind: 'exact', value: '*' } as const, { kind: 'regex', value: '.*' } as const])
    assert.deepEqual(corsResponseHeaders(cors({ allowOrigins: [all] }), preflight('null')).slice(0, 2), [
      'access-control-allow-origin',
      'null',
    ])
})
