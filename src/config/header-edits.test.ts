/** `headers` of VirtualServices: what is refused, what becomes of the rest. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { checkHeaders, lowerHeaders } from './header-edits.ts'
import { virtualServiceSchema } from './kinds/virtual-service-schema.ts'
import { collectDiagnostics } from './report.ts'

function run(headers: unknown) {
  const [rule] = virtualServiceSchema.parse({ http: [{ headers }] }).http ?? []
  const collector = collectDiagnostics()
  checkHeaders(rule?.headers, (...path) => ({ file: path.join('.'), line: 1, col: 1 }), collector.report)
  return { findings: collector.sorted().map(({ code, file }) => `${code} ${file}`), edits: lowerHeaders(rule?.headers) }
}

test('names in lower case, sorted; %% is a literal percent sign', () => {
  const { findings, edits } = run({
    request: { set: { 'X-B': '100%%', 'X-A': ' a ' }, add: { c: 'd' }, remove: ['X-C', 'x-c'] },
  })
  assert.deepEqual(findings, [])
  assert.deepEqual(edits?.request, {
    set: [
      ['x-a', 'a'],
      ['x-b', '100%'],
    ],
    add: [['c', 'd']],
    remove: ['x-c'],
  })
  assert.deepEqual(edits.response, { set: [], add: [], remove: [] })
  assert.equal(run({ request: {} }).edits, null)
  assert.equal(run(undefined).edits, null)
})

test('what belongs to the gateway cannot be edited, and is left out even if somebody tries', () => {
  const names = [
    'Connection',
    'te',
    'transfer-encoding',
    'Content-Length',
    'upgrade',
    ':path',
    ':x',
    'x-envoy-retry-on',
    'x-sallyport-reason',
    'a b',
    '',
  ]
  for (const name of names) {
    for (const kind of ['set', 'add']) {
      const { findings, edits } = run({ request: { [kind]: Object.fromEntries([[name, 'v']]) } })
      assert.deepEqual(findings, [`SP4024 request.${kind}.${name}`], `${kind} ${name}`)
      assert.equal(edits, null, name)
    }
  }
  assert.deepEqual(run({ response: { remove: ['content-length'] } }).findings, ['SP4024 response.remove.0'])
  assert.deepEqual(run({ response: { remove: ['x-envoy-upstream-service-time'] } }).findings, [])
})

test('host: set on requests only, canonical', () => {
  assert.deepEqual(run({ request: { set: { ':authority': 'B.com:80' } } }).edits?.request.set, [['host', 'b.com:80']])
  assert.deepEqual(run({ request: { set: { Host: 'b.com' } } }).findings, [])
  assert.deepEqual(run({ request: { set: { host: 'b.com/x' } } }).findings, ['SP4024 request.set.host'])
  assert.deepEqual(run({ request: { add: { host: 'b.com' } } }).findings, ['SP4024 request.add.host'])
  assert.deepEqual(run({ response: { set: { host: 'b.com' } } }).findings, ['SP4024 response.set.host'])
})

test('values: no line breaks; an empty one removes the header, as nothing is to stand there', () => {
  assert.deepEqual(run({ request: { set: { a: 'b\r\nc: d' } } }).findings, ['SP4024 request.set.a'])
  assert.deepEqual(run({ request: { set: { a: '\u0000' } } }).findings, ['SP4024 request.set.a'])
  assert.deepEqual(run({ request: { set: { a: '' }, add: { b: '' } } }).edits?.request, {
    set: [],
    add: [],
    remove: ['a'],
  })
})

test('command operators become parts', () => {
  const { findings, edits } = run({
    request: { set: { 'x-ip': 'ip=%DOWNSTREAM_REMOTE_ADDRESS%' }, add: { b: '%REQ(X-A?:PATH):5%' } },
    response: { set: { c: '%RESPONSE_CODE%' } },
  })
  assert.deepEqual(findings, [])
  const ip = { operator: 'DOWNSTREAM_REMOTE_ADDRESS', argument: null, alternative: null, maxLength: null }
  assert.deepEqual(edits?.request.set, [['x-ip', ['ip=', ip]]])
  const req = { operator: 'REQ', argument: 'x-a', alternative: ':path', maxLength: 5 }
  assert.deepEqual(edits.request.add, [['b', [req]]])
})

test('unknown and misplaced operators are refused, and never leave the value of the caller', () => {
  for (const value of [
    '%X%',
    '100%',
    '%REQ(a b)%',
    '%REQ%',
    '%RESPONSE_CODE%',
    '%ENVIRONMENT(HOME)%',
    '%START_TIME(%Q)%',
  ]) {
    const { findings, edits } = run({ request: { set: { 'x-a': value }, add: { 'x-b': value } } })
    assert.deepEqual(findings, ['SP4044 request.add.x-b', 'SP4044 request.set.x-a'], value)
    assert.deepEqual(edits?.request, { set: [], add: [], remove: ['x-a'] }, value)
  }
  const host = run({ request: { set: { host: '%REQ(X)%' } } })
  assert.deepEqual(host.findings, ['SP4024 request.set.host'])
  assert.equal(host.edits, null)
})

test('one header in two spellings is refused', () => {
  assert.deepEqual(run({ request: { set: { 'X-A': '1', 'x-a': '2' } } }).findings, ['SP4024 request.set.x-a'])
})
