/**
 * What an HTTP/1.1 request may be (threats 12, 13, 20, 21, 23; behaviour §10.3): hosts, targets, methods, expectations, upgrades.
 * Every spelling of an allowed or refused host gets the decision of its canonical form, or 400.
 */
import assert from 'node:assert/strict'
import { rawExchange } from '../../src/testing/mesh-client.ts'
import { startEchoOrigin, startRawOrigin } from '../../src/testing/origin.ts'
import { differences, test } from './engines.ts'
import { HOST, type Site, startSite } from './site.ts'

const DENY_EVIL = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: deny-evil, namespace: istio-system }
spec: { action: DENY, rules: [{ to: [{ operation: { hosts: [evil.com] } }] }] }
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: evil, namespace: istio-system }
spec:
  hosts: [evil.com, 'evil.com.example']
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{ number: 80, name: http, protocol: HTTP }]
  endpoints: [{ address: 127.0.0.1, ports: { http: 1 } }]
`

const OK = 'HTTP/1.1 204 No Content\r\n\r\n'
const firstStatus = (answer: string) => Number(/^HTTP\/1\.1 (\d{3}) /.exec(answer)?.[1])

/** One request on a connection of its own; the answer up to the end of its head. */
async function send(site: Site, bytes: string, carrier: 'mesh' | 'plain' = 'mesh'): Promise<string> {
  const socket = await site[carrier]()
  const answer = await rawExchange(socket, Buffer.from(bytes, 'latin1'), (text) => text.includes('\r\n\r\n'))
  socket.destroy()
  return answer
}

/** TABLE: what stands in Host → decided like the name itself, or refused. */
const SPELLINGS: Readonly<Record<string, 'same' | 400>> = {
  NAME: 'same',
  UPPER: 'same',
  'NAME.': 'same',
  'NAME:80': 'same',
  'NAME:443': 'same',
  'NAME:8080': 'same',
  'NAME.:80': 'same',
  'NAME:': 400,
  'NAME:080': 400,
  'NAME:0': 400,
  'NAME:65536': 400,
  'NAME:+80': 400,
  'NAME:80:80': 400,
  'NAME..': 400,
  'user@NAME': 400,
  'user:password@NAME': 400,
  'NAME#x': 400,
  'NAME/': 400,
  'NAME?x': 400,
  'NAME\\': 400,
  'NAME, other.example': 400,
  'NAME other.example': 400,
  'http://NAME': 400,
  'NAME%00': 400,
  'N%41ME': 400,
  'NAME\xe3\x80\x82': 400,
  '[::1]@NAME': 400,
  '[NAME]': 400,
  '': 400,
  '127.1': 400,
  '2130706433': 400,
  '0x7f.0.0.1': 400,
  '0177.0.0.1': 400,
  '[::ffff:7f00:1]x': 400,
}

test('threat 20: every spelling of Host is decided as its canonical form, or refused', async (t) => {
  const origin = await startRawOrigin({ onRequest: (connection) => connection.socket.write(OK) })
  t.after(() => origin.close())
  const site = await startSite(t, origin.port, { resources: { 'deny.yaml': DENY_EVIL } })
  let lines = 0
  for (const [spelling, expected] of Object.entries(SPELLINGS)) {
    await t.test(JSON.stringify(spelling), async () => {
      const spell = (name: string) =>
        spelling.replace('NAME', name).replace('N%41ME', name.replace('i', '%69')).replace('UPPER', name.toUpperCase())
      const denied = firstStatus(await send(site, `GET / HTTP/1.1\r\nHost: ${spell('evil.com')}\r\n\r\n`))
      const allowed = firstStatus(await send(site, `GET / HTTP/1.1\r\nHost: ${spell(HOST)}\r\n\r\n`))
      lines += 2
      assert.deepEqual([denied, allowed], expected === 400 ? [400, 400] : [403, 204])
    })
  }
  for (const { text } of origin.connections) {
    for (const [, host] of text.matchAll(/\r\nhost: (.*)\r\n/g))
      assert.match(host ?? '', /^httpbin\.org(?::[1-9]\d*)?$/, 'what goes out is canonical')
  }
  await site.harness.stop(lines)
})

test('threat 20: Host with white space around it, two of them, none', async (t) => {
  const origin = await startRawOrigin({ onRequest: (connection) => connection.socket.write(OK) })
  t.after(() => origin.close())
  const site = await startSite(t, origin.port)
  // RFC 9112 §5: white space around a value is no part of it.
  for (const host of [` ${HOST}`, `${HOST}\t`, `  ${HOST}  `])
    assert.equal(firstStatus(await send(site, `GET / HTTP/1.1\r\nHost:${host}\r\n\r\n`)), 204)
  assert.equal(origin.connections.length, 1)
  const sent = origin.connections[0]?.text.length
  for (const fields of [
    `Host: ${HOST}\r\nHost: ${HOST}\r\n`,
    `Host: ${HOST}\r\nHost: other.example\r\n`,
    `Host: ${HOST}\r\nhost: \r\n`,
    '',
    'Host:\r\n',
  ]) {
    const answer = await send(site, `GET / HTTP/1.1\r\n${fields}\r\n`)
    assert.equal(firstStatus(answer), 400)
    assert.match(answer, /\r\nconnection: close\r\n/i)
  }
  assert.equal(origin.connections[0]?.text.length, sent)
  await site.harness.stop(8)
})

type Row = {
  readonly bytes: string
  readonly status: number
  readonly details?: string
  readonly sent?: string
  readonly closes?: boolean
}
const H = `Host: ${HOST}\r\n`

const TARGETS: Readonly<Record<string, Row>> = {
  'threat 21: absolute-form, same authority': {
    bytes: `GET http://${HOST}/x?y HTTP/1.1\r\n${H}\r\n`,
    status: 204,
    sent: 'GET /x?y HTTP/1.1',
  },
  'threat 21: absolute-form, same authority in capitals': {
    bytes: `GET HTTP://${HOST.toUpperCase()}/x HTTP/1.1\r\n${H}\r\n`,
    status: 204,
    sent: 'GET /x HTTP/1.1',
  },
  'threat 21: absolute-form without a path': {
    bytes: `GET http://${HOST}?q HTTP/1.1\r\n${H}\r\n`,
    status: 204,
    sent: 'GET /?q HTTP/1.1',
  },
  'threat 21: absolute-form, other authority': {
    bytes: `GET http://other.example/ HTTP/1.1\r\n${H}\r\n`,
    status: 400,
    details: 'absolute_path_rejected',
  },
  'threat 21: absolute-form, other port': {
    bytes: `GET http://${HOST}:81/ HTTP/1.1\r\n${H}\r\n`,
    status: 400,
    details: 'absolute_path_rejected',
  },
  'threat 21: absolute-form with userinfo': {
    bytes: `GET http://u@${HOST}/ HTTP/1.1\r\n${H}\r\n`,
    status: 400,
    details: 'absolute_path_rejected',
  },
  'threat 21: absolute-form, empty authority': { bytes: `GET http:///x HTTP/1.1\r\n${H}\r\n`, status: 400 },
  'threat 21: another scheme': { bytes: `GET ftp://${HOST}/ HTTP/1.1\r\n${H}\r\n`, status: 400 },
  'OPTIONS *': { bytes: `OPTIONS * HTTP/1.1\r\n${H}\r\n`, status: 204, sent: 'OPTIONS * HTTP/1.1' },
  'GET *': { bytes: `GET * HTTP/1.1\r\n${H}\r\n`, status: 400, details: 'path_normalization_failed' },
  'no slash': { bytes: `GET x HTTP/1.1\r\n${H}\r\n`, status: 400 },
  'authority-form': { bytes: `GET ${HOST}:80 HTTP/1.1\r\n${H}\r\n`, status: 400 },
  'byte over 0x7f': { bytes: `GET /\xe9 HTTP/1.1\r\n${H}\r\n`, status: 400 },
  '%00': { bytes: `GET /a%00 HTTP/1.1\r\n${H}\r\n`, status: 400, details: 'path_normalization_failed' },
  'broken escape': { bytes: `GET /a%zz HTTP/1.1\r\n${H}\r\n`, status: 400, details: 'path_normalization_failed' },
  fragment: { bytes: `GET /a#b HTTP/1.1\r\n${H}\r\n`, status: 204, sent: 'GET /a HTTP/1.1' },
  'query with everything in it': {
    bytes: `GET /a?//..%2f\\%zz?&= HTTP/1.1\r\n${H}\r\n`,
    status: 204,
    sent: 'GET /a?//..%2f\\%zz?&= HTTP/1.1',
  },
  'threat 23: TRACE': {
    bytes: `TRACE / HTTP/1.1\r\n${H}\r\n`,
    status: 405,
    details: 'method_not_allowed',
    closes: false,
  },
  'threat 23: CONNECT': { bytes: `CONNECT ${HOST}:443 HTTP/1.1\r\n${H}\r\n`, status: 404, details: 'route_not_found' },
  'HTTP/1.0': { bytes: `GET / HTTP/1.0\r\n${H}\r\n`, status: 426, details: 'low_version' },
  'HTTP/1.0 with keep-alive': {
    bytes: `GET / HTTP/1.0\r\n${H}Connection: keep-alive\r\n\r\n`,
    status: 426,
    details: 'low_version',
  },
  'threat 13: Upgrade to something else': {
    bytes: `GET / HTTP/1.1\r\n${H}Connection: Upgrade\r\nUpgrade: foo\r\n\r\n`,
    status: 403,
    details: 'upgrade_failed',
  },
  'threat 13: Upgrade to one of several': {
    bytes: `GET / HTTP/1.1\r\n${H}Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n\r\n`,
    status: 403,
    details: 'upgrade_failed',
  },
  'threat 13: Upgrade twice': {
    bytes: `GET / HTTP/1.1\r\n${H}Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: websocket\r\n\r\n`,
    status: 403,
    details: 'upgrade_failed',
  },
  'threat 13: Upgrade: websocket with a body': {
    bytes: `POST / HTTP/1.1\r\n${H}Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\nhello`,
    status: 400,
    details: 'http1.upgrade_with_body',
  },
  'threat 13: Upgrade: websocket with a chunked body': {
    bytes: `GET / HTTP/1.1\r\n${H}Connection: Upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n`,
    status: 400,
    details: 'http1.upgrade_with_body',
  },
  'threat 13: Upgrade: websocket by another method': {
    bytes: `DELETE / HTTP/1.1\r\n${H}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n`,
    status: 400,
    details: 'http1.upgrade_with_body',
  },
  'threat 13: Upgrade that Connection does not name is no upgrade': {
    bytes: `GET /x HTTP/1.1\r\n${H}Upgrade: websocket\r\n\r\n`,
    status: 204,
    sent: 'GET /x HTTP/1.1',
  },
  'threat 13: Connection that names nothing to upgrade to': {
    bytes: `GET /x HTTP/1.1\r\n${H}Connection: upgrade\r\n\r\n`,
    status: 204,
    sent: 'GET /x HTTP/1.1',
  },
  'threat 13: Upgrade: h2c': {
    bytes: `GET / HTTP/1.1\r\n${H}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n`,
    status: 403,
    details: 'upgrade_failed',
  },
  'threat 12: Expect: something else': {
    bytes: `POST / HTTP/1.1\r\n${H}Expect: foo\r\nContent-Length: 5\r\n\r\nhello`,
    status: 417,
    details: 'expectation_failed',
  },
  'threat 12: Expect: 100-continue-ish': {
    bytes: `POST / HTTP/1.1\r\n${H}Expect: 100-continue-x\r\nContent-Length: 5\r\n\r\nhello`,
    status: 417,
    details: 'expectation_failed',
  },
  'threat 12: Expect: two things': {
    bytes: `POST / HTTP/1.1\r\n${H}Expect: 100-continue, foo\r\nContent-Length: 5\r\n\r\nhello`,
    status: 417,
    details: 'expectation_failed',
  },
  'threat 12: two Expect fields': {
    bytes: `POST / HTTP/1.1\r\n${H}Expect: 100-continue\r\nExpect: foo\r\nContent-Length: 5\r\n\r\nhello`,
    status: 417,
    details: 'expectation_failed',
  },
}

/** Where the engines differ; what is sent is built anew, with one space. */
function differing(): Readonly<Record<string, Row>> {
  const bytes = `GET  /x HTTP/1.1\r\n${H}\r\n`
  const taken = { bytes, status: 204, sent: 'GET /x HTTP/1.1' }
  return { 'threat 23: two spaces after the method': differences().twoSpaces === 204 ? taken : { bytes, status: 400 } }
}

for (const carrier of ['mesh', 'plain'] as const) {
  test(`${carrier}: targets, methods, versions, upgrades, expectations`, async (t) => {
    const origin = await startRawOrigin({ onRequest: (connection) => connection.socket.write(OK) })
    t.after(() => origin.close())
    const site = await startSite(t, origin.port)
    const all = () => origin.connections.map(({ text }) => text).join('')
    const rows = Object.entries({ ...TARGETS, ...differing() })
    for (const [name, { bytes, status, sent, closes = true }] of rows) {
      await t.test(name, async () => {
        const before = all().length
        const answer = await send(site, bytes, carrier)
        assert.equal(firstStatus(answer), status)
        assert.equal(/\r\nconnection: close\r\n/i.test(answer), status !== 204 && closes)
        const added = all().slice(before)
        if (sent === undefined) assert.equal(added, '')
        else assert.ok(added.startsWith(`${sent}\r\n`), added)
      })
    }
    const lines = await site.harness.lines(rows.length)
    for (const [index, [name, { status, details }]] of rows.entries()) {
      const line = lines[index]
      const reason = status === 204 ? null : status === 404 ? 'no_route' : 'bad_request'
      assert.deepEqual([line?.['response_code'], line?.['reason']], [status, reason], name)
      if (details !== undefined) assert.equal(line?.['response_code_details'], details, name)
    }
    await site.harness.stop(rows.length)
  })
}

test('threat 23: CONNECT is refused by name in the log', async (t) => {
  const origin = await startRawOrigin()
  t.after(() => origin.close())
  const site = await startSite(t, origin.port)
  await send(site, 'CONNECT secret.example:443 HTTP/1.1\r\nHost: secret.example:443\r\n\r\n')
  const [line] = await site.harness.lines(1)
  assert.deepEqual(
    [line?.['method'], line?.['authority'], line?.['response_flags']],
    ['CONNECT', 'secret.example:443', 'NR'],
  )
  await site.harness.stop(1)
})

test('threat 12: Expect: 100-continue works end to end, and a refused caller is never asked for its body', async (t) => {
  const origin = await startEchoOrigin()
  t.after(() => origin.close())
  const site = await startSite(t, origin.port)
  const socket = await site.mesh()
  const head = (host: string) =>
    `POST /anything HTTP/1.1\r\nHost: ${host}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n`
  let asked = false
  const answer = await rawExchange(socket, head(HOST), (text) => {
    if (!asked && text === 'HTTP/1.1 100 Continue\r\n\r\n') {
      asked = true
      socket.write('hello')
    }
    return text.includes('"method"')
  })
  assert.ok(asked)
  assert.match(answer, /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 OK\r\n/)
  assert.match(answer, /"data": "hello"/)
  assert.doesNotMatch(answer, /"Expect"/)
  // The connection stays good for another request.
  const next = await rawExchange(socket, `GET /status/204 HTTP/1.1\r\n${H}\r\n`, (text) => text.endsWith('\r\n\r\n'))
  assert.match(next, /^HTTP\/1\.1 204 /)
  socket.destroy()
  const refused = await rawExchange(await site.mesh(), head('unregistered.example'))
  assert.match(refused, /^HTTP\/1\.1 502 /)
  assert.match(refused, /\r\nconnection: close\r\n/i)
  await site.harness.stop(3)
})
