/** Header hygiene: threats 11 and 14, behaviour §7.4 and §10.4. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  connectionNominations,
  fieldsAreCarriable,
  hasPassedThrough,
  isHopByHop,
  isMeshHeader,
  outgoingHeaders,
  outgoingTrailers,
  returnedHeaders,
} from './headers.ts'

const rules = {
  authority: 'a.example',
  nominated: new Set<string>(),
  external: true,
  propagateTrace: true,
  requestId: 'id',
  xForwardedFor: '10.0.0.1',
  scheme: 'https',
  te: false,
  via: null,
} as const

test('nothing of the mesh and nothing hop-by-hop leaves; the rest keeps order and repetition', () => {
  const out = outgoingHeaders(
    [
      'host',
      'other',
      'x-envoy-peer-metadata',
      'm',
      'accept',
      'a',
      'connection',
      'close, x-authz',
      'x-authz',
      '1',
      'x-forwarded-client-cert',
      'c',
      'accept',
      'b',
      'proxy-authorization',
      'p',
      'te',
      'trailers',
      'traceparent',
      't',
    ],
    { ...rules, nominated: new Set(['close', 'x-authz']) },
  )
  assert.deepEqual(out, ['host', 'a.example', 'accept', 'a', 'accept', 'b', 'traceparent', 't', 'x-request-id', 'id'])
})

test('tracing.propagate false stops trace headers; a mesh-internal destination gets x-forwarded-*', () => {
  assert.deepEqual(
    outgoingHeaders(['b3', 'x', 'x-b3-traceid', 'y', 'accept', 'a'], { ...rules, propagateTrace: false }),
    ['host', 'a.example', 'accept', 'a', 'x-request-id', 'id'],
  )
  const internal = outgoingHeaders(['x-forwarded-for', 'spoofed'], { ...rules, external: false })
  assert.deepEqual(internal.slice(-4), ['x-forwarded-for', '10.0.0.1', 'x-forwarded-proto', 'https'])
})

test('split cookies become one field', () => {
  assert.deepEqual(outgoingHeaders(['cookie', 'a=1', 'accept', 'x', 'cookie', 'b=2'], rules).slice(2, 6), [
    'cookie',
    'a=1; b=2',
    'accept',
    'x',
  ])
})

test('Connection may not name framing, forwarding or ten fields', () => {
  for (const value of ['content-length', 'close, Host', 'x-forwarded-for', ':path', 'a,b,c,d,e,f,g,h,i,j', 'a b']) {
    assert.equal(connectionNominations(['connection', value]), null, value)
  }
  assert.deepEqual(
    [...(connectionNominations(['connection', 'Close, X-A', 'connection', 'x-b,']) ?? [])],
    ['close', 'x-a', 'x-b'],
  )
})

test('fields no engine can carry are found', () => {
  assert.equal(fieldsAreCarriable(['a', 'x\ty ü'.normalize('NFC')]), true)
  for (const list of [
    ['__proto__', 'x'],
    ['a b', 'x'],
    ['a', 'x\r\ny'],
    ['a', '\u0000'],
    ['a', '\u0100'],
  ])
    assert.equal(fieldsAreCarriable(list), false)
})

test('property: cleaning is idempotent and nothing forbidden survives in any case or repetition', () => {
  const name = fc.constantFrom(
    'accept',
    'connection',
    'te',
    'keep-alive',
    'x-envoy-retry-on',
    'x-forwarded-for',
    'forwarded',
    'x-sallyport-reason',
    'server',
    'cookie',
    'x-a',
  )
  fc.assert(
    fc.property(fc.array(fc.tuple(name, fc.constantFrom('x-a', 'b', 'close'))), (pairs) => {
      const list = pairs.flat()
      const nominated = connectionNominations(list)
      if (nominated === null) return
      const out = outgoingHeaders(list, { ...rules, nominated })
      for (let i = 0; i < out.length; i += 2) {
        const field = out[i] as string
        assert.ok(!isHopByHop(field) && !isMeshHeader(field) && !nominated.has(field), field)
      }
      assert.deepEqual(outgoingHeaders(out, rules), out)
      const back = returnedHeaders(list)
      assert.deepEqual(returnedHeaders(back), back)
    }),
  )
})

test('via: our own name is recognised among others, and added only where asked', () => {
  const name = 'sallyport-0123abcd'
  assert.equal(hasPassedThrough(['via', `1.0 fred, 1.1 ${name}`], name), true)
  assert.equal(hasPassedThrough(['via', `1.1 not-${name}`, 'x', `1.1 ${name}`], name), false)
  assert.deepEqual(outgoingHeaders(['via', '1.0 fred'], { ...rules, via: name }).slice(2), [
    'via',
    '1.0 fred',
    'x-request-id',
    'id',
    'via',
    `1.1 ${name}`,
  ])
})

const none: ReadonlySet<string> = new Set()
const untouched = () => false

test('outgoingTrailers carries what is about the body, and nothing that was for policy or framing to decide', () => {
  const trailers = ['grpc-status', '0', 'x-checksum', 'abc', 'x-checksum', 'def']
  const bad = [
    ['host', 'evil.example'],
    ['content-length', '5'],
    ['transfer-encoding', 'chunked'],
    ['connection', 'close'],
    ['authorization', 'Bearer x'],
    ['cookie', 'a=1'],
    ['content-type', 'text/html'],
    ['if-match', '*'],
    ['x-forwarded-for', '10.0.0.1'],
    ['x-envoy-retry-on', '5xx'],
    ['x-sallyport-reason', 'blocked'],
    ['traceparent', '00-a-b-01'],
    ['via', '1.1 x'],
  ].flat()
  assert.deepEqual(outgoingTrailers([...bad, ...trailers], none, untouched), trailers)
  assert.equal(outgoingTrailers(bad, none, untouched), null)
  assert.equal(outgoingTrailers(null, none, untouched), null)
})

test('outgoingTrailers leaves out what `connection` names and what the route has edited; one field that cannot be carried drops all', () => {
  const trailers = ['a', '1', 'b', '2', 'c', '3']
  assert.deepEqual(
    outgoingTrailers(trailers, new Set(['a']), (name) => name === 'b'),
    ['c', '3'],
  )
  assert.equal(outgoingTrailers([...trailers, 'd', 'x\r\ny'], none, untouched), null)
  assert.equal(outgoingTrailers([...trailers, ':path', '/'], none, untouched), null)
})
