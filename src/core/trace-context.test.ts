import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { parentOf, traceIdOf, withSpan } from './trace-context.ts'

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736'
const SPAN = '00f067aa0ba902b7'
const ids = { traceId: TRACE, spanId: SPAN }

test('what is understood, and whether it is sampled', () => {
  for (const [headers, expected] of [
    [['traceparent', `00-${TRACE}-${SPAN}-01`], { ids, sampled: true }],
    [['traceparent', `00-${TRACE}-${SPAN}-00`], { ids, sampled: false }],
    [['traceparent', `00-${TRACE}-${SPAN}-ff`], { ids, sampled: true }],
    [['traceparent', `cc-${TRACE}-${SPAN}-01-what-the-future-brings`], { ids, sampled: true }],
    [['x-b3-traceid', TRACE, 'x-b3-spanid', SPAN], { ids, sampled: null }],
    [['x-b3-traceid', TRACE, 'x-b3-spanid', SPAN, 'x-b3-sampled', '0'], { ids, sampled: false }],
    [['x-b3-traceid', TRACE.toUpperCase(), 'x-b3-spanid', SPAN, 'x-b3-flags', '1'], { ids, sampled: true }],
    [['x-b3-sampled', '0'], { ids: null, sampled: false }],
    [['b3', `${TRACE}-${SPAN}`], { ids, sampled: null }],
    [['b3', `${TRACE}-${SPAN}-1-05e3ac9a4f6e3b90`], { ids, sampled: true }],
    [['b3', `${TRACE}-${SPAN}-d`], { ids, sampled: true }],
    [
      ['b3', 'a3ce929d0e0e4736-00f067aa0ba902b7-0'],
      { ids: { traceId: 'a3ce929d0e0e4736', spanId: SPAN }, sampled: false },
    ],
    [['b3', '0'], { ids: null, sampled: false }],
    // W3C before B3; one that is malformed does not hide the other.
    [['b3', '0', 'traceparent', `00-${TRACE}-${SPAN}-01`], { ids, sampled: true }],
    [['b3', `${TRACE}-${SPAN}-1`, 'traceparent', 'nonsense'], { ids, sampled: true }],
  ] as const)
    assert.deepEqual(parentOf(headers), expected, headers.join(' '))
})

test('what is malformed is nothing, in the log neither', () => {
  for (const headers of [
    [],
    ['traceparent', ''],
    ['traceparent', TRACE],
    ['traceparent', `00-${TRACE}-${SPAN}`],
    ['traceparent', `00-${TRACE}-${SPAN}-1`],
    ['traceparent', `00-${TRACE}-${SPAN}-01-more`],
    ['traceparent', `ff-${TRACE}-${SPAN}-01`],
    ['traceparent', `00-${TRACE.toUpperCase()}-${SPAN}-01`],
    ['traceparent', `00-${'0'.repeat(32)}-${SPAN}-01`],
    ['traceparent', `00-${TRACE}-${'0'.repeat(16)}-01`],
    ['traceparent', `00-${TRACE.slice(1)}g-${SPAN}-01`],
    ['b3', ''],
    ['b3', TRACE],
    ['b3', `${TRACE}-`],
    ['b3', `${TRACE}-${SPAN}-x`],
    ['b3', `${TRACE}-${SPAN}-1-${SPAN}-more`],
    ['b3', `${TRACE.slice(2)}-${SPAN}`],
    ['x-b3-traceid', TRACE],
    ['x-b3-traceid', 'x', 'x-b3-spanid', SPAN, 'x-b3-sampled', '1'],
    ['x-b3-spanid', SPAN],
    ['x-b3-sampled', 'maybe'],
  ]) {
    assert.equal(parentOf(headers), null, headers.join(' '))
    assert.equal(traceIdOf(headers), null)
  }
})

test('the log names the trace that we would go on with', () => {
  const name = fc.constantFrom('accept', 'traceparent', 'b3', 'x-b3-traceid', 'x-b3-spanid')
  const hex = (digits: number) =>
    fc.oneof(
      { arbitrary: fc.stringMatching(new RegExp(`^[0-9a-f]{${digits}}$`)), weight: 6 },
      { arbitrary: fc.constantFrom('0'.repeat(digits), ''), weight: 1 },
    )
  const value = fc
    .record({
      version: fc.constantFrom('00', '00', '00', '01', 'ff', ' 00'),
      trace: hex(32),
      span: hex(16),
      flags: fc.constantFrom('01', '00', '1', '01-x', '01 ', '01\n'),
    })
    .chain(({ version, trace, span, flags }) =>
      fc.constantFrom(`${version}-${trace}-${span}-${flags}`, `${trace}-${span}`, trace, span),
    )
  let found = 0
  fc.assert(
    fc.property(fc.array(fc.tuple(name, value), { minLength: 1, maxLength: 4 }), (pairs) => {
      const headers = pairs.flat()
      const id = traceIdOf(headers)
      if (id !== null) found += 1
      const named = headers.some((each, i) => i % 2 === 0 && ['traceparent', 'b3', 'x-b3-traceid'].includes(each))
      assert.equal(id, named ? (parentOf(headers)?.ids?.traceId ?? null) : null)
    }),
    { numRuns: 2000 },
  )
  assert.ok(found > 100)
})

test('nothing that a caller writes makes it fail, and what it finds is hexadecimal', () => {
  const name = fc.constantFrom('traceparent', 'b3', 'x-b3-traceid', 'x-b3-spanid', 'x-b3-sampled', 'x-b3-flags')
  const hex = fc.stringMatching(/^[0-9a-fA-F-]{0,60}$/)
  fc.assert(
    fc.property(fc.array(fc.tuple(name, fc.oneof(hex, fc.string()))), (pairs) => {
      const id = traceIdOf(pairs.flat())
      assert.match(id ?? TRACE, /^(?:[0-9a-f]{16}|[0-9a-f]{32})$/)
    }),
  )
})

test('our span takes the place of the caller’s, in the forms that the caller has used', () => {
  const root = { ...ids, parentSpanId: null }
  const child = { ...ids, parentSpanId: 'b7ad6b7169203331' }
  const w3c = `00-${TRACE}-${SPAN}-01`
  assert.deepEqual(withSpan(['accept', '*/*'], root, { w3c: true }), ['accept', '*/*', 'traceparent', w3c])
  assert.deepEqual(
    withSpan(['traceparent', 'x', 'tracestate', 'a=1', 'host', 'h', 'tracestate', 'b=2'], child, { w3c: true }),
    ['tracestate', 'a=1', 'host', 'h', 'tracestate', 'b=2', 'traceparent', w3c],
  )
  assert.deepEqual(withSpan(['traceparent', 'x', 'traceparent', 'y', 'tracestate', 'a=1'], root, {}), [
    'traceparent',
    w3c,
  ])
  assert.deepEqual(withSpan(['b3', '0'], child, {}), ['b3', `${TRACE}-${SPAN}-1-b7ad6b7169203331`])
  assert.deepEqual(withSpan(['x-b3-flags', '1', 'x-b3-traceid', 'x'], child, { w3c: true }), [
    'traceparent',
    w3c,
    'x-b3-traceid',
    TRACE,
    'x-b3-spanid',
    SPAN,
    'x-b3-sampled',
    '1',
    'x-b3-parentspanid',
    'b7ad6b7169203331',
  ])
  const short = { traceId: 'a3ce929d0e0e4736', spanId: SPAN, parentSpanId: null }
  assert.deepEqual(withSpan([], short, { w3c: true, b3: true }).slice(0, 4), [
    'traceparent',
    `00-0000000000000000a3ce929d0e0e4736-${SPAN}-01`,
    'x-b3-traceid',
    'a3ce929d0e0e4736',
  ])
})
