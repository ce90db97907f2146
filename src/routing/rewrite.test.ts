/** What a route changes on the way out, and what it may not. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { HeaderEdit, HeaderEdits } from '../model/route.ts'
import { headerFacts, matchModel } from '../testing/routes.ts'
import { compileRewrite, editHeaders, rewriteAuthority, rewritePath } from './rewrite.ts'

const onPrefix = (value: string) => matchModel({ uri: { kind: 'prefix', value } })

test('a prefix match has its prefix replaced, other matches the whole path', () => {
  assert.equal(rewritePath('/api/v1/x', onPrefix('/api'), '/new'), '/new/v1/x')
  assert.equal(rewritePath('/api/x', onPrefix('/api/'), '/'), '/x')
  assert.equal(rewritePath('/api/x', matchModel({ uri: { kind: 'regex', value: '/api/.*' } }), '/new'), '/new')
  assert.equal(rewritePath('/api', matchModel({ uri: { kind: 'exact', value: '/api' } }), '/new'), '/new')
})

test('no uri in the match is the prefix /, as in Istio', () => {
  assert.equal(rewritePath('/x', null, '/new/'), '/new/x')
  assert.equal(rewritePath('/x', matchModel({ method: { kind: 'exact', value: 'GET' } }), '/new'), '/newx')
  assert.equal(rewritePath('*', null, '/new'), '*')
})

test('a rewrite that yields a dot segment is refused: policy never saw that path', () => {
  assert.equal(rewritePath('/a../admin', onPrefix('/a'), '/'), null)
  assert.equal(rewritePath('/api.', onPrefix('/api'), '/'), null)
  assert.equal(rewritePath('/a%2e%2E/admin', onPrefix('/a'), '/'), null)
  assert.equal(rewritePath('/a.well-known/x', onPrefix('/a'), '/'), '/.well-known/x')
  assert.equal(rewritePath('/a.../x', onPrefix('/a'), '/'), '/.../x')
})

test('rewrites by expression: searched in the path alone, every match; nothing but a path comes out', () => {
  const rewrite = (pattern: string, substitution: string) => {
    const compiled = compileRewrite({ uri: null, authority: null, uriRegex: { pattern, substitution } })
    assert.ok(compiled)
    return (path: string) => compiled(path, null)
  }
  assert.equal(rewrite('^/service/([^/]+)(/.*)$', '\\2/instance/\\1')('/service/foo/v1/api'), '/v1/api/instance/foo')
  assert.equal(rewrite('one', 'two')('/one/one'), '/two/two')
  assert.equal(rewrite('one', 'two')('/three'), '/three')
  assert.equal(rewrite('.*', 'x')('*'), '*')
  // No path, a query, a dot segment that policy never saw.
  assert.equal(rewrite('^/', '')('/a'), null)
  assert.equal(rewrite('a', '?b')('/a'), null)
  assert.equal(rewrite('a', '#')('/a'), null)
  assert.equal(rewrite('a', 'ä')('/a'), null)
  assert.equal(rewrite('x', '')('/.x./admin'), null)
  assert.equal(rewrite('x', '%2e')('/.x/admin'), null)
  assert.equal(compileRewrite(null), null)
  assert.equal(compileRewrite({ uri: null, authority: 'a.com', uriRegex: null }), null)
  assert.equal(compileRewrite({ uri: '/y', authority: null, uriRegex: null })?.('/x/a', onPrefix('/x')), '/y/a')
})

test('property: no rewritten path holds a dot segment', () => {
  const piece = fc.constantFrom('/', '.', '..', 'a', '%2e', '%2E', 'b')
  const text = fc.array(piece, { maxLength: 6 }).map((parts) => `/${parts.join('')}`)
  fc.assert(
    fc.property(text, fc.constantFrom('/', '/a', '/.', '/a/'), (path, prefix) => {
      fc.pre(path.startsWith(prefix))
      const result = rewritePath(path, onPrefix(prefix), '/')
      const segments = (result ?? '').split('/').map((segment) => segment.replaceAll(/%2e/gi, '.'))
      assert.equal(segments.includes('.') || segments.includes('..'), false)
    }),
  )
})

const FACTS = headerFacts()
const none: HeaderEdit = { set: [], add: [], remove: [] }
const edits = (request: Partial<HeaderEdit>): HeaderEdits => ({ request: { ...none, ...request }, response: none })

test('authority: destination, then route, then rewrite, then the caller', () => {
  const destination = edits({ set: [['host', 'd.com']] })
  const route = edits({ set: [['host', 'r.com']] })
  const rewrite = { uri: null, authority: 'w.com', uriRegex: null }
  assert.equal(rewriteAuthority('c.com', rewrite, route, destination), 'd.com')
  assert.equal(rewriteAuthority('c.com', rewrite, route, edits({})), 'r.com')
  assert.equal(rewriteAuthority('c.com', rewrite, null, null), 'w.com')
  assert.equal(rewriteAuthority('c.com:80', { uri: '/x', authority: null, uriRegex: null }, null, null), 'c.com:80')
})

test('edits: remove, set, add; in the order given; host untouched; the input is not changed', () => {
  const headers = Object.freeze(['host', 'c.com', 'x-a', '1', 'x-a', '2', 'x-b', '3'])
  const first: HeaderEdit = {
    set: [
      ['x-a', 'set'],
      ['host', 'evil.com'],
    ],
    add: [['x-b', '4']],
    remove: ['host', 'x-c'],
  }
  assert.deepEqual(editHeaders(headers, [first], FACTS), ['host', 'c.com', 'x-b', '3', 'x-a', 'set', 'x-b', '4'])
  const second: HeaderEdit = { ...none, set: [['x-a', 'route wins']], remove: ['x-b'] }
  assert.deepEqual(editHeaders(headers, [first, null, second], FACTS), ['host', 'c.com', 'x-a', 'route wins'])
  assert.equal(editHeaders(headers, [null, none], FACTS), headers)
})

test('edits with operators: what comes out empty is removed, never the value of the caller', () => {
  const part = (operator: string, argument: string | null = null) =>
    [{ operator, argument, alternative: null, maxLength: null }] as const
  const edit: HeaderEdit = {
    set: [
      ['x-ip', part('DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT')],
      ['x-gone', part('REQ', 'x-missing')],
    ],
    add: [
      ['x-more', part('REQ', 'x-missing')],
      ['x-more', part('REQ', 'x-a')],
    ],
    remove: [],
  }
  const facts = headerFacts({ headers: ['x-a', 'asked'] })
  assert.deepEqual(editHeaders(['x-gone', 'forged', 'x-ip', 'forged', 'x-more', '0'], [edit], facts), [
    'x-more',
    '0',
    'x-ip',
    '10.1.0.5',
    'x-more',
    'asked',
  ])
})
