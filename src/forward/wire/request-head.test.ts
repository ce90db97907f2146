import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { test } from 'node:test'
import type { OutgoingRequest } from '../forwarder.ts'
import { requestHead } from './request-head.ts'

const head = (request: Partial<OutgoingRequest>) =>
  requestHead({
    method: 'GET',
    target: '/a?b',
    headers: ['host', 'a.example'],
    body: null,
    requestedHost: 'a.example',
    portOverride: null,
    hash: null,
    caller: { sourceIp: '10.0.0.1', sourcePort: 1, destinationIp: '10.0.0.2', destinationPort: 2 },
    trailers: null,
    clientProtocol: 'HTTP/1.1',
    ...request,
  })

test('the head as it goes out; the body is framed by its length, or else by chunks', () => {
  const headers = ['host', 'a.example', 'x-a', '', 'x-own', 'b\tü']
  assert.deepEqual(head({ headers }), {
    text: 'GET /a?b HTTP/1.1\r\nhost: a.example\r\nx-a: \r\nx-own: b\tü\r\n\r\n',
    length: null,
  })
  const body = Readable.from([])
  assert.deepEqual(head({ method: 'POST', headers: ['content-length', '5'], body }), {
    text: 'POST /a?b HTTP/1.1\r\ncontent-length: 5\r\n\r\n',
    length: 5,
  })
  assert.deepEqual(head({ method: 'POST', headers: [], body }), {
    text: 'POST /a?b HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n',
    length: 'chunked',
  })
  assert.equal(head({ headers: ['content-length', '0'] })?.length, null)
})

test('what would be another line, another request or another length is never sent', () => {
  const bad: readonly Partial<OutgoingRequest>[] = [
    { method: 'CONNECT' },
    { method: 'GET /' },
    { method: '' },
    { target: '/ HTTP/1.1\r\nx: y' },
    { target: '' },
    ...['a\r\nb', 'a\nb', 'a\rb', 'a\0', '\x7f', '\u010a'].map((value) => ({ headers: ['host', value] })),
    ...['a\r\nb', 'a:', 'a b', 'Host', '', '__proto__', 'ä'].map((name) => ({ headers: [name, 'x'] })),
    { headers: ['content-length', '5'] },
    { headers: ['content-length', '0', 'content-length', '0'] },
    { headers: ['content-length', 'x'], body: Readable.from([]) },
  ]
  for (const request of bad) assert.equal(head(request), null, JSON.stringify(request))
})
