/** Rewrites: what the outside sees (behaviour §4.5). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { to } from '../integration/manifests.ts'
import { A, echoed, routeSite } from './route-site.ts'

test('field VirtualService.http[].rewrite.uri: in place of the prefix, or of the whole path', async (t) => {
  const rule = (uri: object, rewrite: string) => ({ match: [{ uri }], rewrite: { uri: rewrite }, route: to(A) })
  const { call, a } = await routeSite(t, [
    rule({ prefix: '/p/' }, '/anything/'),
    rule({ exact: '/e' }, '/anything/e'),
    rule({ regex: '/r.*' }, '/anything/r'),
    { rewrite: { uri: '/anything/' }, route: to(A) },
  ])
  const rows = {
    '/p/x?q=1': '/anything/x?q=1',
    '/e?q': '/anything/e?q',
    '/rest': '/anything/r',
    '/none': '/anything/none',
  }
  for (const [path, sent] of Object.entries(rows)) {
    const { line } = await call(path)
    assert.equal(a.requests.at(-1), `GET ${sent}`)
    assert.equal(line['path'], path, 'the log shows what was asked')
  }
})

test('field VirtualService.http[].rewrite.authority: the Host that the site sees', async (t) => {
  const { call, a } = await routeSite(t, [{ rewrite: { authority: 'Inner.example:8443' }, route: to(A) }])
  const called = await call('/anything')
  assert.equal(echoed(called)['Host'], 'inner.example:8443')
  assert.equal(called.line['upstream_host'], `127.0.0.1:${a.port}`)
})

test('field VirtualService.http[].rewrite.uriRegexRewrite.match, VirtualService.http[].rewrite.uriRegexRewrite.rewrite: by expression, with its groups', async (t) => {
  const rule = (prefix: string, match: string, rewrite: string) => ({
    name: prefix,
    match: [{ uri: { prefix } }],
    rewrite: { uriRegexRewrite: { match, rewrite } },
    route: to(A),
  })
  const { call, a } = await routeSite(t, [
    rule('/service/', '^/service/([^/]+)(/.*)$', '/anything\\2/instance/\\1'),
    rule('/all', 'l', 'ell'),
    rule('/dots', 'x', '%2e'),
    rule('/away', '^/', 'far'),
  ])
  await call('/service/foo/v1/api?q=/service/bar/x')
  assert.equal(a.requests.at(-1), 'GET /anything/v1/api/instance/foo?q=/service/bar/x')
  await call('/all')
  assert.equal(a.requests.at(-1), 'GET /aellell')
  const sent = a.requests.length
  // A path that no policy has seen, and what is no path at all: refused, never repaired.
  for (const path of ['/dots/.x/admin', '/dots/x/admin', '/away']) {
    const { answer, line } = await call(path)
    assert.deepEqual([answer.status, line['reason']], [400, 'bad_request'], path)
  }
  assert.equal(a.requests.length, sent)
})
