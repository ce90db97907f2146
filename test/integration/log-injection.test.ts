/** Hostile bytes in names, paths and fields (threats D2 53, 54): one valid line each, whatever a caller sends, and the name stays in it. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { eventually } from '../../src/testing/eventually.ts'
import { rawExchange } from '../../src/testing/mesh-client.ts'
import { startRawOrigin } from '../../src/testing/origin.ts'
import { test } from './engines.ts'
import { HOST, type Site, startSite } from './site.ts'

const OK = 'HTTP/1.1 204 No Content\r\n\r\n'
const H = `Host: ${HOST}\r\n`

/** Requests that try to end, forge or garble a line. Latin-1: one character is one byte. */
const HOSTILE: Readonly<Record<string, string>> = {
  'quotes and backslashes in the path': `GET /"},{"reason":"\\u0000\\n"} HTTP/1.1\r\n${H}\r\n`,
  'escapes in the path': `GET /%0a%0d%22%1b[31m?%0a HTTP/1.1\r\n${H}\r\n`,
  'raw bytes in the path': `GET /\xff\xfe\xe2\x80\xa8 HTTP/1.1\r\n${H}\r\n`,
  'quotes in the user agent': `GET / HTTP/1.1\r\n${H}User-Agent: "\\","x":"\\\r\n\r\n`,
  'line separators of Unicode': `GET / HTTP/1.1\r\n${H}User-Agent: \xe2\x80\xa8\xe2\x80\xa9\xc2\x85\r\n\r\n`,
  'invalid UTF-8': `GET / HTTP/1.1\r\n${H}User-Agent: \xff\xc0\xaf\xed\xa0\x80\r\nX-Forwarded-For: \xfe\r\n\r\n`,
  tabs: `GET / HTTP/1.1\r\n${H}User-Agent: a\tb\t"\tc\r\n\r\n`,
  'terminal escapes': `GET / HTTP/1.1\r\n${H}User-Agent: \x1b[2J\x1b]0;x\x07\r\n\r\n`,
  'C1 controls': `GET / HTTP/1.1\r\n${H}User-Agent: \x9b31m\x85\x90\r\n\r\n`,
  'a forged request id': `GET / HTTP/1.1\r\n${H}X-Request-Id: "\\\xff{"a":1}\r\n\r\n`,
  'a forged trace': `GET / HTTP/1.1\r\n${H}traceparent: 00-"\\\xff-x-01\r\n\r\n`,
  'a host of quotes': 'GET / HTTP/1.1\r\nHost: "\\"},{"\r\n\r\n',
  'a host of bytes': 'GET / HTTP/1.1\r\nHost: \xff\xfe\x80\r\n\r\n',
  'operators of the log format': `GET /%REQ(AUTHORIZATION)%%START_TIME% HTTP/1.1\r\n${H}User-Agent: %REQ(COOKIE)% %%\r\nCookie: secret\r\n\r\n`,
  'a bare LF and a forged line': `GET / HTTP/1.1\r\n${H}User-Agent: x\n{"response_code":200}\r\n\r\n`,
  'a method of bytes': `G\xcbT / HTTP/1.1\r\n${H}\r\n`,
}

async function sendAll(site: Site): Promise<void> {
  for (const bytes of Object.values(HOSTILE)) {
    const socket = await site.mesh()
    await rawExchange(socket, Buffer.from(bytes, 'latin1'), (text) => text.includes('\r\n\r\n'))
    socket.destroy()
  }
}

/** Every byte of the log once it has `count` lines. */
function rawLog(site: Site, count: number): Promise<Buffer> {
  return eventually(`${count} lines`, () => {
    const bytes = readFileSync(site.harness.paths.accessLog)
    return bytes.filter((byte) => byte === 0x0a).length >= count ? bytes : null
  })
}

/** C0 but the line feed, DEL, C1: nothing a terminal or a line reader could act on. */
// oxlint-disable-next-line no-control-regex
const CONTROL = /[\0-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]/

for (const [encoding, check] of [
  ['JSON', (line: string) => void JSON.parse(line)],
  ['TEXT', (line: string) => assert.match(line, /^\[\d{4}-\d\d-\d\dT[\d:.]+Z\] "/)],
] as const) {
  test(`${encoding}: one valid line for each request, of printable text`, async (t) => {
    const origin = await startRawOrigin({ onRequest: ({ socket }) => socket.write(OK) })
    t.after(() => origin.close())
    const site = await startSite(t, origin.port, { spec: { meshConfig: { accessLogEncoding: encoding } } })
    await sendAll(site)
    const count = Object.keys(HOSTILE).length
    const bytes = await rawLog(site, count)
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
    assert.doesNotMatch(text, CONTROL)
    const lines = text.split('\n').slice(0, -1)
    assert.equal(lines.length, count)
    for (const line of lines) check(line)
    assert.ok(!text.includes('secret'), 'values are never formats')
    if (encoding === 'JSON') {
      const records = lines.map((line) => JSON.parse(line) as Record<string, unknown>)
      const keys = Object.keys(records[0] ?? {})
      for (const record of records) assert.deepEqual(Object.keys(record), keys)
      assert.equal(records[0]?.['path'], '/"},{"reason":"/u0000/n"}')
      assert.equal(records[3]?.['user_agent'], '"\\","x":"\\')
    }
    await site.harness.gateway.close()
  })
}

test('metric labels stay well formed', async (t) => {
  const origin = await startRawOrigin({ onRequest: ({ socket }) => socket.write(OK) })
  t.after(() => origin.close())
  const site = await startSite(t, origin.port)
  await sendAll(site)
  const { port } = site.harness.gateway.control?.metrics ?? { port: 0 }
  const text = await (await fetch(`http://127.0.0.1:${port}/stats/prometheus`)).text()
  const label = '[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\\\\n]|\\\\[\\\\"n])*"'
  const sample = new RegExp(`^[a-zA-Z_:][a-zA-Z0-9_:]*(?:\\{(?:${label},?)*\\})? [-+0-9.eEInfNa]+$`)
  for (const line of text.split('\n')) if (line !== '' && !line.startsWith('#')) assert.match(line, sample)
  // oxlint-disable-next-line no-control-regex
  assert.doesNotMatch(text, /[\0-\x09\x0b-\x1f\x7f-\x9f]/)
  await site.harness.stop(Object.keys(HOSTILE).length)
})

test('a flood of names: the metric says `other`, the log keeps every name', { timeout: 110_000 }, async (t) => {
  const origin = await startRawOrigin()
  t.after(() => origin.close())
  const site = await startSite(t, origin.port)
  const names = Array.from({ length: 700 }, (_, index) => `n${index}.unregistered.example`)
  for (let from = 0; from < names.length; from += 100) {
    const batch = names.slice(from, from + 100)
    const socket = await site.mesh()
    const bytes = batch.map((name) => `GET / HTTP/1.1\r\nHost: ${name}\r\n\r\n`).join('')
    await rawExchange(socket, bytes, (text) => text.split('HTTP/1.1 502').length === batch.length + 1)
    socket.destroy()
  }
  const lines = await site.harness.lines(names.length)
  assert.deepEqual(
    lines.map((line) => line['authority']),
    names,
  )
  assert.ok((await site.metric('sallyport_requests_total', 'destination_host="other"')) >= 100)
  assert.equal(await site.metric('sallyport_requests_total', 'response_code="502"'), names.length)
  await site.harness.stop(names.length)
})
