/** What rules of a VirtualService do: what the check finds, and where (Istio validation/virtualservice.go). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { checkFindings } from '../../testing/resources.ts'
import { virtualService } from './virtual-service.ts'

const route = [{ destination: { host: 'a.com' } }]

function ruleFindings(rule: Record<string, unknown>): string[] {
  const spec = { hosts: ['a.com'], gateways: ['gw'], http: [{ route, ...rule }] }
  return checkFindings(virtualService, spec).map((finding) => finding.replace('spec.http.0.', ''))
}

test('rewrites and redirects are paths and authorities, nothing else', () => {
  const rewrite = (fields: Record<string, unknown>) => ruleFindings({ rewrite: fields })
  assert.deepEqual(rewrite({ uri: '/x', authority: 'b.com:80' }), [])
  for (const uri of ['x', '/a?b', '/a#b', '/a b', '/../x', '/%2E%2e', '/ä', '/a\r\nb'])
    assert.deepEqual(rewrite({ uri }), ['SP4000 rewrite.uri'], uri)
  for (const authority of ['b.com:0', 'b com', 'u@b.com'])
    assert.deepEqual(rewrite({ authority }), ['SP4000 rewrite.authority'])
  const redirect = (fields: Record<string, unknown>) => ruleFindings({ route: undefined, redirect: fields })
  assert.deepEqual(redirect({ uri: '/x?y', scheme: 'https', redirectCode: 308 }), [])
  for (const uri of ['%PREFIX()%/x', '%PREFIX()%']) assert.deepEqual(redirect({ uri }), [], uri)
  assert.deepEqual(redirect({ uri: '%PREFIX()%x' }), ['SP4000 redirect.uri'])
  assert.deepEqual(redirect({ uri: '/x%PREFIX()%' }), ['SP4000 redirect.uri'])
  assert.deepEqual(redirect({ uri: '//a\r\n' }), ['SP4000 redirect.uri'])
  assert.deepEqual(redirect({ scheme: 'ftp' }), ['SP4000 redirect.scheme'])
  assert.deepEqual(redirect({ uri: '/x', redirectCode: 200 }), ['SP4000 redirect.redirectCode'])
  assert.deepEqual(redirect({ port: 1, derivePort: 'FROM_REQUEST_PORT' }), ['SP4000 redirect.derivePort'])
  assert.deepEqual(redirect({}), ['SP4000 redirect'])
})

test('direct responses: one body, base64, at most 1 MB', () => {
  const direct = (body: Record<string, unknown>) =>
    ruleFindings({ route: undefined, directResponse: { status: 200, body } })
  assert.deepEqual(direct({ string: 'x' }), [])
  assert.deepEqual(direct({ string: 'x', bytes: 'eA==' }), ['SP4000 directResponse.body'])
  assert.deepEqual(direct({ bytes: '!' }), ['SP4000 directResponse.body.bytes'])
  assert.deepEqual(direct({ string: 'x'.repeat(1_100_000) }), ['SP4000 directResponse.body'])
})

test('rewrites by expression', () => {
  const rewrite = (match: string, to: string, more: object = {}) =>
    ruleFindings({ rewrite: { uriRegexRewrite: { match, rewrite: to }, ...more } })
  const at = 'rewrite.uriRegexRewrite'
  assert.deepEqual(rewrite('^/a/(.*)', '/b/\\1'), [])
  assert.deepEqual(rewrite('(', '/b'), [`SP4023 ${at}`])
  assert.deepEqual(rewrite('(a)', '\\2'), [`SP4023 ${at}`])
  assert.deepEqual(rewrite('', '/b'), [`SP4000 ${at}`])
  assert.deepEqual(rewrite('a', ''), [`SP4000 ${at}`])
  for (const to of ['/b?c', '/b c', '/ä', '/b#c']) assert.deepEqual(rewrite('a', to), [`SP4000 ${at}.rewrite`], to)
  assert.deepEqual(rewrite('a', 'b', { uri: '/x' }), ['SP4000 rewrite'])
  assert.deepEqual(ruleFindings({ rewrite: {} }), ['SP4000 rewrite'])
})

test('the authority is set once', () => {
  const rule = (name: string) => ({
    rewrite: { authority: 'b.com' },
    headers: { request: { set: { [name]: 'c.com' } } },
  })
  assert.deepEqual(ruleFindings(rule('Host')), ['SP4000 headers.request.set.Host'])
  assert.deepEqual(ruleFindings(rule(':authority')), ['SP4000 headers.request.set.:authority'])
  assert.deepEqual(ruleFindings(rule('x-host')), [])
})

test('rules that answer themselves have neither fault nor rewrite', () => {
  const fault = { abort: { httpStatus: 503, percentage: { value: 100 } } }
  const answers = [{ redirect: { uri: '/x' } }, { directResponse: { status: 200 } }]
  for (const answer of answers) {
    assert.deepEqual(ruleFindings({ route: undefined, ...answer, fault }), ['SP4000 fault'])
    assert.deepEqual(ruleFindings({ route: undefined, ...answer, rewrite: { uri: '/x' } }), ['SP4000 rewrite'])
  }
})

test('retries', () => {
  const retries = (fields: Record<string, unknown>) =>
    ruleFindings({ retries: fields }).map((each) => each.replace('retries.', ''))
  const on = 'connect-failure,refused-stream, Unavailable,cancelled,503,599,5xx,gateway-error,reset,retriable-4xx'
  assert.deepEqual(retries({ attempts: 3, retryOn: on, perTryTimeout: '2s', backoff: '25ms' }), [])
  assert.deepEqual(retries({}), [])
  assert.deepEqual(retries({ attempts: 0 }), [])
  assert.deepEqual(retries({ retryOn: '5xx' }), ['SP4000 retries'])
  assert.deepEqual(retries({ attempts: 0, perTryTimeout: '1s' }), ['SP4000 retries'])
  for (const retryOn of ['5xxx', '600', '99', 'toString'])
    assert.deepEqual(retries({ attempts: 1, retryOn }), ['SP4048 retryOn'], retryOn)
  assert.deepEqual(retries({ attempts: 1, perTryTimeout: '0s' }), [])
  assert.deepEqual(retries({ attempts: 1, perTryTimeout: '1us' }), ['SP4000 perTryTimeout'])
  assert.deepEqual(retries({ attempts: 1, backoff: '0s' }), ['SP4000 backoff'])
  assert.throws(() => virtualService.schema.parse({ http: [{ retries: { attempts: -1 } }] }))
})

test('faults', () => {
  const percentage = { value: 100 }
  const fault = (fields: Record<string, unknown>) =>
    ruleFindings({ fault: fields }).map((each) => each.replace('fault.', ''))
  assert.deepEqual(fault({ delay: { fixedDelay: '1s', percentage }, abort: { httpStatus: 503, percentage } }), [])
  assert.deepEqual(fault({ abort: { grpcStatus: 'NOT_FOUND', percentage } }), [])
  assert.deepEqual(fault({}), ['SP4000 fault'])
  assert.deepEqual(fault({ delay: { percentage } }), ['SP4000 delay'])
  assert.deepEqual(fault({ delay: { fixedDelay: '0s', percentage } }), ['SP4000 delay.fixedDelay'])
  assert.deepEqual(fault({ delay: { exponentialDelay: '1s', percentage } }), ['SP4000 delay.exponentialDelay'])
  assert.deepEqual(fault({ delay: { fixedDelay: '1s', percent: 5 } }), ['SP7023 delay.percent'])
  assert.deepEqual(fault({ delay: { fixedDelay: '1s' } }), ['SP4011 delay'])
  assert.deepEqual(fault({ abort: { httpStatus: 503 } }), ['SP4011 abort'])
  // Istio aborts nothing then: what was meant to block would be open.
  assert.deepEqual(fault({ abort: { percentage } }), ['SP4000 abort'])
  assert.deepEqual(fault({ abort: { httpStatus: 503, grpcStatus: 'OK', percentage } }), ['SP4000 abort'])
  assert.deepEqual(fault({ abort: { http2Error: 'x', percentage } }), ['SP4000 abort.http2Error'])
  assert.deepEqual(fault({ abort: { grpcStatus: 'not_found', percentage } }), ['SP4000 abort.grpcStatus'])
  for (const value of [101, -1])
    assert.throws(() => virtualService.schema.parse({ http: [{ fault: { abort: { percentage: { value } } } }] }))
})

test('mirrors', () => {
  const destination = { host: 'b.com' }
  assert.deepEqual(ruleFindings({ mirror: destination, mirrorPercentage: { value: 5 } }), [])
  assert.deepEqual(ruleFindings({ mirrors: [{ destination, percentage: { value: 5 } }] }), [])
  assert.deepEqual(ruleFindings({ mirror: destination, mirrors: [{ destination }] }), ['SP4000 mirrors'])
  assert.deepEqual(ruleFindings({ mirror: destination, mirrorPercent: 5 }), ['SP7023 mirrorPercent'])
  assert.deepEqual(ruleFindings({ mirrorPercentage: { value: 5 } }), ['SP4011 mirrorPercentage'])
  assert.deepEqual(ruleFindings({ mirror: { host: '*' } }), ['SP4000 mirror.host'])
  assert.deepEqual(ruleFindings({ mirrors: [{ destination: { host: 'a*' } }] }), ['SP4000 mirrors.0.destination.host'])
})

test('corsPolicy', () => {
  const cors = (fields: Record<string, unknown>) =>
    ruleFindings({ corsPolicy: fields }).map((each) => each.replace('corsPolicy.', ''))
  const allowOrigins = [{ exact: 'https://a' }, { prefix: 'https://' }, { regex: 'a|b' }]
  assert.deepEqual(
    cors({ allowOrigins, allowMethods: ['GET', '*'], allowHeaders: ['x-a'], exposeHeaders: ['*'], maxAge: '24h' }),
    [],
  )
  assert.deepEqual(cors({ allowOrigins: [{}] }), ['SP4000 allowOrigins.0'])
  assert.deepEqual(cors({ allowOrigins: [{ exact: '' }] }), ['SP4000 allowOrigins.0'])
  assert.deepEqual(cors({ allowOrigins: [{ exact: 'a', prefix: 'b' }] }), ['SP4000 allowOrigins.0'])
  assert.deepEqual(cors({ allowOrigins: [{ regex: '(' }] }), ['SP4023 allowOrigins.0'])
  assert.deepEqual(cors({ allowOrigin: ['*'] }), ['SP7023 allowOrigin'])
  assert.deepEqual(cors({ allowMethods: ['get'] }), ['SP4000 allowMethods.0'])
  assert.deepEqual(cors({ allowHeaders: ['a b'] }), ['SP4000 allowHeaders.0'])
  assert.deepEqual(cors({ exposeHeaders: ['a\r\nb: c'] }), ['SP4000 exposeHeaders.0'])
  assert.deepEqual(cors({ maxAge: '1500ms' }), ['SP4000 maxAge'])
})
