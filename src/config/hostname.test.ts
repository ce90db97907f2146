import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { hostCovers } from '../core/host-pattern.ts'
import { canonicalHost, hostProblem, isLabel, patternsFor, qualify } from './hostname.ts'

test('names, wildcards and addresses that are legal', () => {
  for (const host of ['httpbin.org', 'WWW.Example.COM', 'example.com.', '*.example.com', 'a', '10.0.0.1', 'x-y.z0'])
    assert.equal(hostProblem(host), null, host)
})

test('hosts that name everything, nothing, or something else than a host are refused', () => {
  const bad = ['*', '', '.', '*.', '*foo.com', '*-a.com', 'a.*.com', '**.com', 'a..b', '-a.com', 'a-.com', 'a_b.com']
  const disguised = ['https://a.com', 'a.com:80', 'a.com/x', 'a b', 'user@a.com', 'bücher.de', '127.1', '0x7f.1', '::1']
  for (const host of [...bad, ...disguised, `${'a'.repeat(64)}.com`, `${'a.'.repeat(130)}com`])
    assert.notEqual(hostProblem(host), null, host)
})

test('short names are services of the namespace that writes them', () => {
  assert.equal(qualify('Reviews', 'shop'), 'reviews.shop.svc.cluster.local')
  assert.equal(qualify('httpbin.org.', 'shop'), 'httpbin.org')
  assert.equal(qualify('*', 'shop'), '*')
  assert.equal(canonicalHost('A.B.'), 'a.b')
  assert.equal(isLabel('*'), false)
})

test('patterns come most specific first and each covers the host', () => {
  assert.deepEqual(patternsFor('a.b.c'), ['a.b.c', '*.b.c', '*.c', '*'])
  assert.deepEqual(patternsFor('*.b.c'), ['*.b.c', '*.c', '*'])
  const label = fc.stringMatching(/^[a-z]{1,3}$/)
  const host = fc.array(label, { minLength: 1, maxLength: 5 }).map((labels) => labels.join('.'))
  fc.assert(fc.property(host, (name) => patternsFor(name).every((pattern) => hostCovers(pattern, name))))
})
