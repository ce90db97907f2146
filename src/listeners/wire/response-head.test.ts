import assert from 'node:assert/strict'
import { test } from 'node:test'
import { responseHead } from './response-head.ts'

const NOW = Date.UTC(2026, 0, 2, 3, 4, 5)
const DATE = 'date: Fri, 02 Jan 2026 03:04:05 GMT\r\n'
const head = (status: number, fields: readonly string[], toHead = false, closes = false) =>
  responseHead(status, fields, toHead, closes, NOW)

test('fields keep their order; date, close and framing are ours', () => {
  assert.deepEqual(head(200, ['content-length', '5', 'x-a', 'b', 'x-a', 'c', 'server', 's']), {
    text: `HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx-a: b\r\nx-a: c\r\nserver: s\r\n${DATE}\r\n`,
    framing: 'counted',
    length: 5,
  })
  assert.deepEqual(head(599, ['date', 'x'], false, true), {
    text: 'HTTP/1.1 599 \r\ndate: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n',
    framing: 'chunked',
    length: 0,
  })
  assert.equal(
    head(200, ['transfer-encoding', 'gzip', 'connection', 'x', 'content-length', '0'])?.text,
    `HTTP/1.1 200 OK\r\ncontent-length: 0\r\n${DATE}\r\n`,
  )
  assert.match(
    responseHead(200, [], false, false, NOW + 1_000)?.text ?? '',
    /\r\ndate: Fri, 02 Jan 2026 03:04:06 GMT\r\n/,
  )
})

test('no body for HEAD, 204 and 304, whatever their fields say', () => {
  for (const [status, toHead] of [
    [200, true],
    [204, false],
    [304, false],
  ] as const) {
    for (const fields of [[], ['content-length', '7']]) {
      const made = head(status, fields, toHead)
      assert.deepEqual([made?.framing, made?.length], ['none', 0])
      assert.doesNotMatch(made?.text ?? '', /transfer-encoding/)
    }
  }
})

test('fields that cannot be sent as they are make no head', () => {
  for (const fields of [
    ['content-length', '5', 'content-length', '5'],
    ['content-length', '5, 5'],
    ['content-length', '-1'],
    ['content-length', ''],
    ['x', 'a\r\nset-cookie: b'],
    ['x', 'a\nb'],
    ['x', 'a\0b'],
    // Its low byte is a line feed.
    ['x', 'a\u010ab'],
    ['x\r\nset-cookie', 'a'],
    ['x:', 'a'],
    ['', 'a'],
  ])
    assert.equal(head(200, fields), null, JSON.stringify(fields))
})
