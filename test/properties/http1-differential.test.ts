/**
 * Differential fuzzing of our HTTP/1.1 parser (src/core/http1) against Node's strict one: whatever ours accepts, Node
 * accepts with the same method, target, fields, body and trailers, and sees the same number of messages. The other way
 * round ours may refuse more. FUZZ_INPUTS: how many inputs (default: a minute's worth in CI, a thousand elsewhere).
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { headEnd } from '../../src/core/http1/bytes.ts'
import { createChunkReader } from '../../src/core/http1/chunked.ts'
import { type Framing, readRequestHead } from '../../src/core/http1/request-head.ts'
import { type ResponseFraming, readResponseHead } from '../../src/core/http1/response-head.ts'
import { type Message as NodesMessage, nodesRequests, nodesResponse } from '../fuzz/node-reader.ts'

const INPUTS = Number(process.env['FUZZ_INPUTS'] ?? (process.env['CI'] === 'true' ? 60_000 : 1_500))

type Message = Pick<NodesMessage, 'start' | 'fields' | 'body' | 'trailers'>

/** Every complete message at the front of `bytes`, as ours reads them; stops at the first fault or unfinished one. */
function ours(bytes: Buffer, kind: 'request' | 'response'): Message[] {
  const messages: Message[] = []
  for (let at = 0; at < bytes.length; ) {
    const end = headEnd(bytes, at, bytes.length)
    if (end === -1) break
    const head = kind === 'request' ? readRequestHead(bytes, at, end) : readResponseHead(bytes, at, end)
    if (typeof head === 'string') break
    if ('status' in head ? head.status < 200 : head.method === 'CONNECT') break
    const bodiless = 'status' in head && (head.status === 204 || head.status === 304)
    const body = readBody(bytes, end, bodiless && head.framing !== 'invalid' ? 0 : head.framing)
    if (body === null) break
    const start = 'status' in head ? String(head.status) : `${head.method} ${head.target}`
    messages.push({ start, fields: head.fields, body: body.text, trailers: body.trailers })
    at = body.end
    // One response for one request; HTTP/1.0 closes.
    if ('status' in head || head.minorVersion === 0) break
  }
  return messages
}

function readBody(bytes: Buffer, start: number, framing: Framing | ResponseFraming) {
  if (framing === 'invalid') return null
  if (framing === 'close') return { text: bytes.toString('latin1', start), end: bytes.length, trailers: [] }
  if (typeof framing === 'number') {
    if (start + framing > bytes.length) return null
    return { text: bytes.toString('latin1', start, start + framing), end: start + framing, trailers: [] }
  }
  const reader = createChunkReader((parts) => Buffer.concat(parts))
  let text = ''
  const end = reader.read(bytes, start, bytes.length, (from, to) => {
    text += bytes.toString('latin1', from, to)
  })
  return reader.done ? { text, end, trailers: reader.trailers } : null
}

const mostly = <T>(good: T, ...odd: readonly T[]) =>
  fc.oneof({ weight: 9, arbitrary: fc.constant(good) }, { weight: 1, arbitrary: fc.constantFrom(good, ...odd) })
const crlf = mostly('\r\n', '\n', '\r', '\r\r\n', '\r\n ', '\r\n\t')
const fieldName = fc.constantFrom('Host', 'a', 'X-Y', 'x_y', 'Content-Type', 'set-cookie', "!#$%&'*+-.^_`|~")
const fieldValue = fc.constantFrom('b', '', ' b ', '\tb\t', 'b  c', '\xe9', '"q,;"', 'chunked', '5')
const field = fc
  .tuple(
    mostly('', ' ', '\0'),
    fieldName,
    mostly(':', ' :', '', ': :', '\t:'),
    mostly(' ', '', '\t', '\x0b'),
    fieldValue,
    crlf,
  )
  .map((parts) => parts.join(''))
const framingField = fc.constantFrom(
  '',
  '',
  'Content-Length: 5\r\n',
  'content-length: 0\r\n',
  'content-length: 05\r\n',
  'Content-Length: 5\r\nContent-Length: 5\r\n',
  'Content-Length: 5, 5\r\n',
  'content-length: +5\r\n',
  'content-length: 5 \r\n',
  'Transfer-Encoding: chunked\r\n',
  'transfer-encoding: CHUNKED\r\n',
  'transfer-encoding: chunked\r\n',
  'transfer-encoding:chunked \r\n',
  'transfer-encoding: gzip, chunked\r\n',
  'transfer-encoding: chunked, identity\r\n',
  'transfer-encoding: identity\r\n',
  'transfer-encoding: chunked\r\ncontent-length: 5\r\n',
  'content-length: 5\r\ntransfer-encoding: chunked\r\n',
)
const chunk = fc
  .tuple(
    mostly('5', '05', '0x5', '5 ', '+5', '4', '6', 'A'),
    mostly('', ';a', ';a=b', ';a="b"', ' ;a', ';\n'),
    crlf,
    mostly('hello', 'hell'),
    crlf,
  )
  .map((parts) => parts.join(''))
const chunks = fc
  .tuple(fc.array(chunk, { maxLength: 3 }), mostly('0', '00', '', '0;x'), crlf, fc.array(field, { maxLength: 1 }), crlf)
  .map(([list, ...rest]) => list.join('') + rest.flat().join(''))
const body = fc.oneof(chunks, fc.constantFrom('', 'hello', 'hello', 'hell', 'GET / HTTP/1.1\r\n\r\n'))
const message = (line: fc.Arbitrary<string>) =>
  fc
    .tuple(line, fc.array(field, { maxLength: 3 }), framingField, fc.array(field, { maxLength: 1 }), crlf, body)
    .map(
      ([start, before, framing, after, empty, rest]) =>
        start + before.join('') + framing + after.join('') + empty + rest,
    )
const requestLine = fc
  .tuple(
    mostly('', '\r\n', ' ', '\n'),
    fc.oneof(
      { weight: 9, arbitrary: fc.constantFrom('GET', 'POST', 'DELETE', 'HEAD', 'OPTIONS', 'PUT') },
      fc.constantFrom('get', 'CONNECT', 'PRI', 'M-SEARCH', 'FOO'),
    ),
    mostly(' ', '  ', '\t'),
    mostly('/', '*', '/a?b#c', 'http://h/x', 'h:443', '/\xe9', '/a b', '//', '/%00', '/\x7f', '/"<>'),
    mostly(' ', '  ', '\t', ''),
    mostly('HTTP/1.1', 'HTTP/1.0', 'HTTP/2.0', 'HTTP/0.9', 'http/1.1', 'HTTP/1.1 ', ''),
    crlf,
  )
  .map((parts) => parts.join(''))
const statusLine = fc
  .tuple(
    mostly('HTTP/1.1', 'HTTP/1.0', 'HTTP/2', 'http/1.1', ' HTTP/1.1', 'HTTP/1.2'),
    mostly(' ', '  ', '\t'),
    fc.constantFrom('200', '200', '404', '204', '304', '99', '1000', '20x', '599'),
    mostly(' OK', '', ' ', ' \xe9', '\tOK', ' O\0K', 'OK'),
    crlf,
  )
  .map((parts) => parts.join(''))
/** One byte somewhere is another, gone, or twice there. */
const mutated = (text: fc.Arbitrary<string>) =>
  fc
    .tuple(
      text,
      mostly<number>(-1, 0, 1, 2),
      fc.nat(200),
      fc.constantFrom('\r', '\n', ' ', '\0', ':', '0', ';', '\t', 'x'),
    )
    .map(([whole, how, at, byte]) => {
      const i = at % (whole.length + 1)
      if (how === 0) return whole.slice(0, i) + byte + whole.slice(i)
      if (how === 1) return whole.slice(0, i) + whole.slice(i + 1)
      return how === 2 ? whole.slice(0, i) + byte + whole.slice(i + 1) : whole
    })

async function agree(text: string, kind: 'request' | 'response', count: { accepted: number }): Promise<void> {
  const bytes = Buffer.from(text, 'latin1')
  const mine = ours(bytes, kind)
  if (mine.length === 0) return
  count.accepted += mine.length
  const response = kind === 'response' ? await nodesResponse(bytes) : null
  const read = kind === 'request' ? (await nodesRequests(bytes)).messages : response === null ? [] : [response]
  const nodes = read
    .filter(({ whole }) => whole)
    .map(({ start, fields, body: content, trailers }) => ({ start, fields, body: content, trailers }))
  assert.deepEqual(nodes.slice(0, mine.length), mine, JSON.stringify(text))
}

for (const [kind, line] of [
  ['request', requestLine],
  ['response', statusLine],
] as const) {
  test(`${kind}s: whatever ours accepts, Node's strict parser reads the same`, async () => {
    const count = { accepted: 0 }
    const text = fc
      .array(mutated(message(line)), { minLength: 1, maxLength: kind === 'request' ? 3 : 1 })
      .map((each) => each.join(''))
    await fc.assert(
      fc.asyncProperty(text, (each) => agree(each, kind, count)),
      { numRuns: INPUTS },
    )
    // A generator that makes nothing acceptable would prove nothing.
    assert.ok(count.accepted > INPUTS / 20, `${count.accepted} messages accepted of ${INPUTS} inputs`)
  })
}
