/** Redirects: what `location` says (behaviour §4.5; Istio ApplyRedirect, Envoy newUri). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { gateway } from '../integration/manifests.ts'
import { type CallOptions, HOST, routeSite } from './route-site.ts'

/** `location` of the answer to `path`, under one redirect for the prefix `/old`. */
async function redirected(
  t: Parameters<typeof routeSite>[0],
  redirect: object,
): Promise<(path: string, options?: CallOptions) => Promise<readonly [number, string | undefined]>> {
  const { call, a, b } = await routeSite(t, [{ match: [{ uri: { prefix: '/old' } }], redirect }], {
    gateway: gateway({ number: 80 }, { number: 81 }),
    spec: { ports: { 80: 0, 81: 0 } },
  })
  return async (path, options = {}) => {
    const { answer, line } = await call(path, options)
    assert.equal(line['response_code_details'], 'direct_response')
    assert.equal(line['upstream_cluster'], null)
    assert.equal(a.requests.length + b.requests.length, 0)
    return [answer.status, answer.headers.location]
  }
}

test('field VirtualService.http[].redirect, VirtualService.http[].redirect.uri: another path; the query stays unless it brings one', async (t) => {
  const ask = await redirected(t, { uri: '/new' })
  assert.deepEqual(await ask('/old/x?q=1'), [301, `http://${HOST}/new?q=1`])
  const query = await redirected(t, { uri: '/new?own' })
  assert.deepEqual(await query('/old/x?q=1'), [301, `http://${HOST}/new?own`])
})

test('field VirtualService.http[].redirect.uri: %PREFIX()% takes the place of the matched prefix', async (t) => {
  const ask = await redirected(t, { uri: '%PREFIX()%/new' })
  assert.deepEqual(await ask('/old/x?q=1'), [301, `http://${HOST}/new/x?q=1`])
  assert.deepEqual(await ask('/old'), [301, `http://${HOST}/new`])
})

test('field VirtualService.http[].redirect.authority: another host', async (t) => {
  const ask = await redirected(t, { authority: 'Else.example:81' })
  assert.deepEqual(await ask('/old?q'), [301, 'http://else.example:81/old?q'])
})

test('field VirtualService.http[].redirect.scheme: another scheme; the default port of the old one goes', async (t) => {
  const ask = await redirected(t, { scheme: 'https' })
  assert.deepEqual(await ask('/old'), [301, `https://${HOST}/old`])
  assert.deepEqual(await ask('/old', { host: `${HOST}:80` }), [301, `https://${HOST}/old`])
  assert.deepEqual(await ask('/old', { host: `${HOST}:8080` }), [301, `https://${HOST}:8080/old`])
})

test('field VirtualService.http[].redirect.port: another port, unsaid where it is the scheme’s', async (t) => {
  const ask = await redirected(t, { port: 8080 })
  assert.deepEqual(await ask('/old', { host: `${HOST}:81` }), [301, `http://${HOST}:8080/old`])
  const https = await redirected(t, { port: 443, scheme: 'https' })
  assert.deepEqual(await https('/old'), [301, `https://${HOST}/old`])
})

test('field VirtualService.http[].redirect.derivePort: of the scheme, or of the Gateway server', async (t) => {
  const request = await redirected(t, { derivePort: 'FROM_REQUEST_PORT' })
  assert.deepEqual(await request('/old', { port: 81 }), [301, `http://${HOST}:81/old`])
  assert.deepEqual(await request('/old', { host: `${HOST}:9` }), [301, `http://${HOST}/old`])
  const protocol = await redirected(t, { derivePort: 'FROM_PROTOCOL_DEFAULT', scheme: 'https' })
  assert.deepEqual(await protocol('/old', { host: `${HOST}:9` }), [301, `https://${HOST}/old`])
})

test('field VirtualService.http[].redirect.redirectCode: the status', async (t) => {
  for (const redirectCode of [302, 303, 307, 308]) {
    const ask = await redirected(t, { uri: '/new', redirectCode })
    assert.deepEqual(await ask('/old'), [redirectCode, `http://${HOST}/new`])
  }
})
