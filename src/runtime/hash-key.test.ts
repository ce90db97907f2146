import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { HttpAttributes } from '../core/attributes.ts'
import { hash32 } from '../core/hash.ts'
import type { HashKeyModel, LoadBalancerModel } from '../model/cluster.ts'
import { generatedCookie, hashOf } from './hash-key.ts'

const http = (headers: readonly string[] = [], query: string | null = null): HttpAttributes => ({
  method: 'GET',
  path: '/a',
  query,
  scheme: 'https',
  authority: { host: 'site.example', port: 8080, text: 'site.example:8080', isIp: false },
  headers,
})
const ring = (key: HashKeyModel): LoadBalancerModel => ({ kind: 'RING_HASH', minimumRingSize: 1024, key })
const maglev = (key: HashKeyModel): LoadBalancerModel => ({ kind: 'MAGLEV', tableSize: 65537, key })
const cookie = (ttlMs: number | null, path: string | null = null): HashKeyModel => ({
  kind: 'cookie',
  name: 'user',
  path,
  ttlMs,
})
const CALLER = { sourceIp: '10.0.0.7', sourcePort: 4000, destinationIp: '10.0.0.1', destinationPort: 8080 }

/** TABLE: what is hashed; null: nothing. */
const ROWS: readonly (readonly [name: string, key: HashKeyModel, http: HttpAttributes | null, text: string | null])[] =
  [
    ['source address', { kind: 'source-ip' }, http(), '10.0.0.7'],
    ['source address of a tunnel', { kind: 'source-ip' }, null, '10.0.0.7'],
    ['header', { kind: 'header', name: 'x-user' }, http(['x-user', 'ann']), 'ann'],
    ['header, empty', { kind: 'header', name: 'x-user' }, http(['x-user', '']), ''],
    ['header, absent', { kind: 'header', name: 'x-user' }, http(['x-other', 'ann']), null],
    ['header, of a tunnel', { kind: 'header', name: 'x-user' }, null, null],
    ['header, several', { kind: 'header', name: 'x-user' }, http(['x-user', 'b', 'x-user', 'a']), 'a\0b'],
    ['host', { kind: 'header', name: 'host' }, http(['host', 'SITE.example:8080']), 'site.example:8080'],
    [':authority', { kind: 'header', name: ':authority' }, http(), 'site.example:8080'],
    [':path', { kind: 'header', name: ':path' }, http([], 'q=1'), '/a?q=1'],
    [':method', { kind: 'header', name: ':method' }, http(), 'GET'],
    ['cookie', cookie(null), http(['cookie', 'a=1; user=ann; user=bob']), 'ann'],
    ['cookie, quoted', cookie(null), http(['cookie', 'user="ann"']), 'ann'],
    ['cookie, in a second field', cookie(null), http(['cookie', 'a=1', 'cookie', 'user=ann']), 'ann'],
    ['cookie, empty', cookie(null), http(['cookie', 'user=']), null],
    ['cookie, another that ends alike', cookie(null), http(['cookie', 'superuser=ann']), null],
    ['query', { kind: 'query', name: 'user' }, http([], 'x=1&user=a%20b&user=c'), 'a%20b'],
    ['query, without value', { kind: 'query', name: 'user' }, http([], 'user'), ''],
    ['query, absent', { kind: 'query', name: 'user' }, http([], 'users=1'), null],
    ['query, none', { kind: 'query', name: 'user' }, http(), null],
  ]

test('hashOf: what each key names, the same for both hashing balancers', () => {
  for (const [name, key, request, text] of ROWS) {
    const want = text === null ? null : hash32(text)
    assert.equal(hashOf(ring(key), '10.0.0.7', request), want, name)
    assert.equal(hashOf(maglev(key), '10.0.0.7', request), want, name)
  }
  for (const kind of ['LEAST_REQUEST', 'ROUND_ROBIN', 'RANDOM'] as const)
    assert.equal(hashOf({ kind, warmup: null }, '10.0.0.7', http()), null)
})

test('generatedCookie: only for httpCookie with a ttl, and only when the request has none', () => {
  assert.equal(generatedCookie(ring(cookie(null)), http(), CALLER), null)
  assert.equal(generatedCookie(ring({ kind: 'source-ip' }), http(), CALLER), null)
  assert.equal(generatedCookie({ kind: 'RANDOM', warmup: null }, http(), CALLER), null)
  assert.equal(generatedCookie(ring(cookie(1000)), http(['cookie', 'user=ann']), CALLER), null)
  const made = generatedCookie(ring(cookie(90_500, '/shop')), http(['cookie', 'other=1']), CALLER)
  assert.match(made?.setCookie ?? '', /^user="[0-9a-f]{16}"; Max-Age=90; Path=\/shop; HttpOnly$/)
  assert.match(generatedCookie(maglev(cookie(0)), http(), CALLER)?.setCookie ?? '', /^user="[0-9a-f]{16}"; HttpOnly$/)
  assert.match(generatedCookie(maglev(cookie(1)), http(), CALLER)?.setCookie ?? '', /; Max-Age=1; HttpOnly$/)
})

test('generatedCookie: sent back, it leads where the first request went; other connections get others', () => {
  const balancer = ring(cookie(0))
  const first = generatedCookie(balancer, http(), CALLER)
  const [pair = ''] = first?.setCookie.split(';') ?? []
  assert.equal(hashOf(balancer, CALLER.sourceIp, http(['cookie', pair])), first?.hash)
  assert.deepEqual(generatedCookie(balancer, http(), CALLER), first)
  const other = generatedCookie(balancer, http(), { ...CALLER, sourcePort: 4001 })
  assert.notEqual(other?.hash, first?.hash)
})
