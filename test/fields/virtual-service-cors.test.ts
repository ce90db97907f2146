/** Cross-origin requests (behaviour §4.5): preflights, and what other answers carry. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { to } from '../integration/manifests.ts'
import { A, type Called, type RouteSite, routeSite } from './route-site.ts'

const ORIGIN = 'https://app.example'

const rule = (corsPolicy: object) => [
  { corsPolicy: { allowOrigins: [{ exact: ORIGIN }], ...corsPolicy }, route: to(A) },
]
const preflight = (site: RouteSite, origin = ORIGIN) =>
  site.call('/', { method: 'OPTIONS', headers: { origin, 'access-control-request-method': 'PUT' } })
const get = (site: RouteSite, origin = ORIGIN) => site.call('/', { headers: { origin } })
const field = ({ answer }: Called, name: string) => answer.headers[`access-control-${name}`]
const seen = ({ a }: RouteSite) => a.requests.length

/** Allowed here: answered without the site. */
async function isAllowed(site: RouteSite, origin: string): Promise<boolean> {
  const before = seen(site)
  const called = await preflight(site, origin)
  if (field(called, 'allow-origin') === undefined) return false
  assert.deepEqual([called.answer.status, seen(site), field(called, 'allow-origin')], [200, before, origin])
  return true
}

test('field VirtualService.http[].corsPolicy.allowOrigins[].exact, VirtualService.http[].corsPolicy.allowOrigins[].prefix, VirtualService.http[].corsPolicy.allowOrigins[].regex: any of them', async (t) => {
  const allowOrigins = [{ exact: ORIGIN }, { prefix: 'https://pre.' }, { regex: 'https://[a-z]+\\.re\\.example' }]
  const site = await routeSite(t, rule({ allowOrigins }))
  for (const origin of [ORIGIN, 'https://pre.example', 'https://x.re.example'])
    assert.equal(await isAllowed(site, origin), true, origin)
  for (const origin of [`${ORIGIN}.evil.io`, 'http://pre.example', 'https://1.re.example', 'null'])
    assert.equal(await isAllowed(site, origin), false, origin)
  const called = await get(site)
  assert.deepEqual([called.answer.status, field(called, 'allow-origin')], [200, ORIGIN])
  assert.equal(field(await get(site, 'https://evil.io'), 'allow-origin'), undefined)
})

test('field VirtualService.http[].corsPolicy.allowOrigin: exact ones, or a star for all', async (t) => {
  const listed = await routeSite(t, rule({ allowOrigins: undefined, allowOrigin: [ORIGIN] }))
  assert.equal(await isAllowed(listed, ORIGIN), true)
  assert.equal(await isAllowed(listed, 'https://evil.io'), false)
  const all = await routeSite(t, rule({ allowOrigins: undefined, allowOrigin: ['*'] }))
  assert.equal(await isAllowed(all, 'https://any.example'), true)
})

test('field VirtualService.http[].corsPolicy.allowMethods, VirtualService.http[].corsPolicy.allowHeaders, VirtualService.http[].corsPolicy.maxAge: in answers to preflights', async (t) => {
  const policy = { allowMethods: ['GET', 'PUT'], allowHeaders: ['x-a', 'x-b'], maxAge: '1h' }
  const called = await preflight(await routeSite(t, rule(policy)))
  const fields = ['allow-methods', 'allow-headers', 'max-age']
  assert.deepEqual(
    fields.map((name) => field(called, name)),
    ['GET,PUT', 'x-a,x-b', '3600'],
  )
  assert.equal(called.line['response_code_details'], 'cors_response')
  const bare = await preflight(await routeSite(t, rule({})))
  for (const name of fields) assert.equal(field(bare, name), undefined, name)
})

test('field VirtualService.http[].corsPolicy.exposeHeaders: in other answers', async (t) => {
  const site = await routeSite(t, rule({ exposeHeaders: ['x-c', 'x-d'] }))
  assert.equal(field(await get(site), 'expose-headers'), 'x-c,x-d')
  assert.equal(field(await get(site, 'https://evil.io'), 'expose-headers'), undefined)
  assert.equal(field(await preflight(site), 'expose-headers'), undefined)
})

test('field VirtualService.http[].corsPolicy.allowCredentials: true in both, or not at all', async (t) => {
  const site = await routeSite(t, rule({ allowCredentials: true }))
  assert.equal(field(await get(site), 'allow-credentials'), 'true')
  assert.equal(field(await preflight(site), 'allow-credentials'), 'true')
  const without = await routeSite(t, rule({ allowCredentials: false }))
  assert.equal(field(await get(without), 'allow-credentials'), undefined)
})

test('field VirtualService.http[].corsPolicy.unmatchedPreflights: to the site, or answered here', async (t) => {
  const asked = async (policy: object) => {
    const site = await routeSite(t, rule(policy))
    const called = await preflight(site, 'https://evil.io')
    return [called.answer.status, field(called, 'allow-origin'), seen(site)]
  }
  assert.deepEqual(await asked({}), [200, undefined, 1])
  assert.deepEqual(await asked({ unmatchedPreflights: 'FORWARD' }), [200, undefined, 1])
  assert.deepEqual(await asked({ unmatchedPreflights: 'IGNORE' }), [200, undefined, 0])
})

test('without a corsPolicy nothing is answered or added', async (t) => {
  const site = await routeSite(t, [{ route: to(A) }])
  await preflight(site)
  assert.equal(seen(site), 1)
  assert.equal(field(await get(site), 'allow-origin'), undefined)
})
