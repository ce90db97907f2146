/** Whatever is given to an engine is what a raw TCP origin receives: method, target, fields, body (architecture §3.12 no. 4). */
import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { test } from 'node:test'
import fc from 'fast-check'
import { clusterModel, ENGINES, responseOf, testUpstream } from '../../src/testing/forwarding.ts'
import { startRawOrigin } from '../../src/testing/origin.ts'

const token = fc
  .array(fc.constantFrom(...Array.from("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")), {
    minLength: 1,
    maxLength: 20,
  })
  .map((chars) => chars.join(''))
const bytes = (from: number, to: number, maxLength: number) =>
  fc.array(fc.integer({ min: from, max: to }), { maxLength }).map((codes) => String.fromCharCode(...codes))

const method = fc.oneof(
  fc.constantFrom('GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH', 'PROPFIND'),
  token.map((text) => text.toUpperCase()).filter((text) => text !== 'CONNECT'),
)
const hostile = fc.constantFrom('/', '//', '\\', '%2f', '%2e%2e', '..', '?', ';', '%00', 'http:/', '@', ':')
const target = fc
  .array(fc.oneof(hostile, bytes(0x21, 0xff, 12)), { maxLength: 20 })
  .map((parts) => `/${parts.join('')}`)
const FRAMING = new Set(['content-length', 'transfer-encoding', 'host', '__proto__', 'expect', 'trailer'])
const name = fc
  .oneof(token, fc.constantFrom('cookie', 'content-disposition', 'connection', 'date', 'constructor', '0', 'x-b'))
  .filter((text) => !FRAMING.has(text))
const value = bytes(0x20, 0xff, 30).filter((text) => !text.includes('\x7f'))
const fields = fc.array(fc.tuple(name, value), { maxLength: 12 })
const body = fc.option(
  fc.record({
    chunks: fc.array(fc.uint8Array({ minLength: 1, maxLength: 200 }), { maxLength: 4 }),
    sized: fc.boolean(),
  }),
)

for (const [engine, create] of Object.entries(ENGINES)) {
  test(`${engine}: the wire carries exactly what was given`, async () => {
    await fc.assert(
      fc.asyncProperty(method, target, fields, body, async (verb, path, list, payload) => {
        await using origin = await startRawOrigin()
        using upstream = testUpstream(clusterModel(origin.port), undefined, { forwarder: create() })
        const chunks = payload?.chunks.map((chunk) => Buffer.from(chunk)) ?? []
        const length = payload?.sized === true ? ['content-length', String(Buffer.concat(chunks).length)] : []
        const headers = ['host', 'site.example', ...length, ...list.flat()]
        const sent = upstream.send({
          method: verb,
          target: path,
          headers,
          body: payload === null ? null : Readable.from(chunks),
        })
        let expected = `${verb} ${path} HTTP/1.1\r\n`
        for (let i = 0; i < headers.length; i += 2) expected += `${headers[i]}: ${headers[i + 1]}\r\n`
        if (payload?.sized === false) {
          expected += 'transfer-encoding: chunked\r\n\r\n'
          for (const chunk of chunks) expected += `${chunk.length.toString(16)}\r\n${chunk.toString('latin1')}\r\n`
          expected += '0\r\n\r\n'
        } else expected += `\r\n${Buffer.concat(chunks).toString('latin1')}`
        const connection = await origin.connection(0)
        await connection.until((text) => text.length >= expected.length)
        connection.socket.end('HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n')
        await responseOf(await sent.outcome).body()
        await connection.closed
        assert.equal(connection.text, expected)
      }),
      { numRuns: 150 },
    )
  })
}
