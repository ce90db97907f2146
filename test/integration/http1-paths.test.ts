/**
 * DENY /admin against every spelling of it, in each mode of `pathNormalization` (threat 22; behaviour §10.7): what a mode maps to
 * /admin is refused, and otherwise the path that goes out is the very one that was judged.
 */
import assert from 'node:assert/strict'
import { rawExchange } from '../../src/testing/mesh-client.ts'
import { startRawOrigin } from '../../src/testing/origin.ts'
import { test } from './engines.ts'
import { HOST, startSite } from './site.ts'

const DENY_ADMIN = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: deny-admin, namespace: istio-system }
spec: { action: DENY, rules: [{ to: [{ operation: { paths: [/admin] } }] }] }
`

const MODES = ['NONE', 'BASE', 'MERGE_SLASHES', 'DECODE_AND_MERGE_SLASHES'] as const
const DENIED = 403
const BAD = 400
/** The path that goes out, or the status of the refusal; `=`: as it came. */
type Outcome = string | 400 | 403

/** TABLE: spelling → outcome in each mode, in the order of MODES. */
const SPELLINGS: Readonly<Record<string, readonly [Outcome, Outcome, Outcome, Outcome]>> = {
  '/admin': [DENIED, DENIED, DENIED, DENIED],
  '/admin?x=/../y': [DENIED, DENIED, DENIED, DENIED],
  '/admin?': [DENIED, DENIED, DENIED, DENIED],
  '/admin#x': [DENIED, DENIED, DENIED, DENIED],
  '/admin#/../x': [DENIED, DENIED, DENIED, DENIED],
  '//admin': ['=', '=', DENIED, DENIED],
  '///admin': ['=', '=', DENIED, DENIED],
  '/a/../admin': ['=', DENIED, DENIED, DENIED],
  '/./admin': ['=', DENIED, DENIED, DENIED],
  '/../../admin': ['=', DENIED, DENIED, DENIED],
  '/%2e%2e/admin': ['=', DENIED, DENIED, DENIED],
  '/a/%2E./admin': ['=', DENIED, DENIED, DENIED],
  '/%61dmin': ['=', DENIED, DENIED, DENIED],
  '/adm%69n': ['=', DENIED, DENIED, DENIED],
  '\\admin': [BAD, BAD, BAD, BAD],
  '/\\admin': ['=', '//admin', DENIED, DENIED],
  '/a\\..\\admin': ['=', DENIED, DENIED, DENIED],
  '/a\\admin': ['=', '/a/admin', '/a/admin', '/a/admin'],
  '/a%2f..%2fadmin': ['=', '=', '=', DENIED],
  '/a%2fadmin': ['=', '=', '=', '/a/admin'],
  '/%2Fadmin': ['=', '=', '=', DENIED],
  '/%5cadmin': ['=', '=', '=', DENIED],
  '/a//../admin': ['=', '/a/admin', '/a/admin', '/a/admin'],
  '/a//../../admin': ['=', DENIED, DENIED, DENIED],
  '/admin/': ['=', '=', '=', '='],
  '/admin/.': ['=', '/admin/', '/admin/', '/admin/'],
  '/admin;x': ['=', '=', '=', '='],
  '/ADMIN': ['=', '=', '=', '='],
  '/Admin': ['=', '=', '=', '='],
  '/%2561dmin': ['=', '=', '=', '='],
  '/%252e%252e/admin': ['=', '=', '=', '='],
  '/..;/admin': ['=', '=', '=', '='],
  '/.../admin': ['=', '=', '=', '='],
  '/0x2e0x2e/admin': ['=', '=', '=', '='],
  '/admin%20': ['=', '=', '=', '='],
  '/admin%00': ['=', BAD, BAD, BAD],
  '/admin%': ['=', BAD, BAD, BAD],
  '/admin%2': ['=', BAD, BAD, BAD],
  '/%c0%afadmin': ['=', '=', '=', '='],
  '/admin%c0%ae': ['=', '=', '=', '='],
  '/app//x/./y%7e?q=//%2e': ['=', '/app//x/y~?q=//%2e', '/app/x/y~?q=//%2e', '/app/x/y~?q=//%2e'],
}

for (const [column, mode] of MODES.entries()) {
  test(`threat 22: pathNormalization ${mode}: DENY /admin, and what is really sent`, async (t) => {
    const origin = await startRawOrigin({
      onRequest: (connection) => connection.socket.write('HTTP/1.1 204 No Content\r\n\r\n'),
    })
    t.after(() => origin.close())
    const site = await startSite(t, origin.port, {
      resources: { 'deny.yaml': DENY_ADMIN },
      spec: { meshConfig: { pathNormalization: { normalization: mode } } },
    })
    const sent = () => origin.connections.map(({ text }) => text).join('')
    const expectedLog: (readonly [status: number, path: string])[] = []
    for (const [spelling, outcomes] of Object.entries(SPELLINGS)) {
      await t.test(spelling, async () => {
        const outcome = outcomes[column] as Outcome
        const before = sent().length
        const socket = await site.mesh()
        const request = `GET ${spelling} HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`
        const answer = await rawExchange(socket, request, (text) => text.includes('\r\n\r\n'))
        socket.destroy()
        const status = typeof outcome === 'number' ? outcome : 204
        assert.match(answer, new RegExp(`^HTTP/1\\.1 ${status} `))
        const requestLine = sent().slice(before).split('\r\n')[0]
        const path = outcome === '=' ? spelling : String(outcome)
        assert.equal(requestLine, status === 204 ? `GET ${path} HTTP/1.1` : '')
        expectedLog.push([status, path])
      })
    }
    const lines = await site.harness.lines(expectedLog.length)
    for (const [index, [status, path]] of expectedLog.entries()) {
      assert.equal(lines[index]?.['response_code'], status)
      if (status === 204) assert.equal(lines[index]?.['path'], path, 'the log shows what was judged and sent')
      if (status === DENIED) assert.match(String(lines[index]?.['path']), /^\/admin(?:$|\?)/)
    }
    await site.harness.stop(expectedLog.length)
  })
}

test('threat 22: BASE is the default', async (t) => {
  const origin = await startRawOrigin()
  t.after(() => origin.close())
  const site = await startSite(t, origin.port, { resources: { 'deny.yaml': DENY_ADMIN } })
  const socket = await site.mesh()
  const answer = await rawExchange(socket, `GET /x/%2e%2e/admin HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`, (text) =>
    text.includes('\r\n\r\n'),
  )
  socket.destroy()
  assert.match(answer, /^HTTP\/1\.1 403 /)
  const [line] = await site.harness.lines(1)
  assert.equal(line?.['path'], '/admin')
  await site.harness.stop(1)
})
