/** A grammar of HTTP/1.1 answers that knows how sites get them wrong, with what comes before and behind them. */
import { bytesOf, cutsOf, type Input, mutated } from './input.ts'
import { chunkedBody, lineEnd, ODDNESS, Part } from './parts.ts'
import type { Random } from './random.ts'

export type ResponseInput = Input & {
  readonly method: 'GET' | 'HEAD' | 'POST'
  /** What the site does when it has written everything. `keep` only where the answer can be told to be over. */
  readonly end: 'keep' | 'fin' | 'reset'
}

const FIELDS = [
  'content-type: text/plain',
  'server: theirs',
  'date: Thu, 01 Jan 1970 00:00:00 GMT',
  'x-a: b',
  'x-empty:',
  'x-value: content-length',
  'x-value: __proto__',
  'transfer-encoding-x: chunked',
  'x-latin: \xe9\xff',
  'x-tab:\tb\tc\t',
  'Set-Cookie: a=b; path=/',
  'set-cookie: c=d',
  "!#$%&'*+-.^_`|~: token",
  'cache-control: no-store',
]
const SPECIAL = [
  'connection: close',
  'connection: keep-alive',
  'connection: close, x-a',
  'connection: upgrade',
  'connection: content-length',
  'connection: transfer-encoding',
  'keep-alive: timeout=5',
  'keep-alive: timeout=0',
  'proxy-authenticate: Basic',
  'upgrade: websocket',
  'upgrade: h2c',
  'trailer: x-t',
  'te: trailers',
  'x-envoy-upstream-service-time: 1',
  'x-sallyport-reason: rbac_denied',
  'x-forwarded-for: 1.2.3.4',
  '__proto__: x',
  'location: http://127.0.0.1/',
  'content-encoding: gzip',
  'grpc-status: 0',
  'content-type: application/grpc',
]

function field(part: Part, random: Random): string {
  const text = random.chance(0.25) ? random.pick(SPECIAL) : random.pick(FIELDS)
  const colon = text.indexOf(':')
  return (
    part.of('', ' ', '\t', '\0', ':', '\r\n') +
    text.slice(0, colon) +
    part.of(':', ' :', '\t:', '', '::', '\0:', ':\0', ':\x0b', ':\r', ':\n') +
    text.slice(colon + 1) +
    part.of('', ' ', '\t ', '\0', '\x7f', '\r', ' x') +
    lineEnd(part)
  )
}

const INJECTED = 'HTTP/1.1 200 OK\r\ncontent-length: 8\r\nx-injected: 1\r\n\r\ninjected'
const CONTENTS = ['', 'x', 'hello', '0\r\n\r\n', '\r\n', INJECTED, `0\r\n\r\n${INJECTED}`, 'y'.repeat(300), '\0\xff']

function statusLine(part: Part, random: Random, status: string): string {
  return (
    part.of('', '\r\n', '\n', ' ', '\0', 'x') +
    part.of('HTTP/1.1', 'HTTP/1.0', 'HTTP/2', 'HTTP/1.2', 'HTTP/0.9', 'http/1.1', 'HTTPS/1.1', 'ICY', 'RTSP/1.0', '') +
    part.of(' ', '  ', '\t', '') +
    status +
    part.of(
      random.pick([' OK', ' ', '', ' \xe9', ' Not so good']),
      '\tOK',
      ' O\0K',
      'OK',
      ' OK\r',
      ' HTTP/1.1 200 OK',
    ) +
    lineEnd(part)
  )
}

const FINAL = ['200', '200', '200', '200', '404', '204', '304', '205', '206', '301', '500', '503', '401', '407', '426']

/** Without `connection: close`: Node takes the final answer behind it for one too many. */
function interim(part: Part, random: Random): string {
  const status = part.from(['100', '103', '102'], '101', '199', '150')
  return statusLine(part, random, status) + (random.chance(0.3) ? `${random.pick(FIELDS)}\r\n` : '') + lineEnd(part)
}

function framed(part: Part, random: Random, content: string): { readonly fields: string; readonly body: string } {
  const { length } = content
  const lengthLine = `${part.from(['Content-Length', 'content-length'], 'content-length ', 'content_length')}: ${part.of(
    String(length),
    `0${length}`,
    `+${length}`,
    `-${length}`,
    `${length}, ${length}`,
    `${length},${length + 1}`,
    `0x${length.toString(16)}`,
    '',
    `${length + 1}`,
    `${length + 200}`,
    `${Math.max(0, length - 1)}`,
    '18446744073709551616',
    `${length}\t`,
  )}`
  const codingLine = `${part.from(['Transfer-Encoding', 'transfer-encoding'], 'transfer-encoding ')}: ${part.from(
    ['chunked', 'Chunked'],
    'xchunked',
    'gzip, chunked',
    'chunked, identity',
    'identity',
    'chunked, chunked',
    '"chunked"',
    'chunked\t',
    'chunked\x0b',
    '',
  )}`
  const end = lineEnd(part)
  switch (random.below(8)) {
    case 0:
    case 1:
    case 2:
      return { fields: lengthLine + end, body: content }
    case 3:
    case 4:
      return { fields: codingLine + end, body: chunkedBody(part, random, content) }
    case 5:
    case 6:
      return { fields: '', body: content }
    default: {
      const lines = random.pick([
        [lengthLine, codingLine],
        [codingLine, lengthLine],
        [lengthLine, lengthLine],
        [lengthLine, `content-length: ${length + 5}`],
        [codingLine, codingLine],
      ])
      return {
        fields: `${lines.join('\r\n')}${end}`,
        body: random.chance(0.5) ? content : chunkedBody(part, random, content),
      }
    }
  }
}

function response(random: Random): string {
  const part = new Part(random, random.pick(ODDNESS))
  const { fields, body } = framed(part, random, random.pick(CONTENTS))
  let text = ''
  if (random.chance(0.15)) for (let i = 1 + random.below(3); i > 0; i--) text += interim(part, random)
  text += statusLine(
    part,
    random,
    part.from(FINAL, '99', '100', '101', '1000', '20', '20x', '600', '999', '000', '-200'),
  )
  const lines: string[] = []
  for (let i = random.below(4); i > 0; i--) lines.push(field(part, random))
  lines.splice(random.below(lines.length + 1), 0, fields)
  text += lines.join('') + lineEnd(part) + body
  return random.chance(0.15) ? mutated(random, text) : text
}

export function responseInput(random: Random): ResponseInput {
  let text = response(random)
  // Behind it, unasked for: another answer, or anything.
  if (random.chance(0.1)) text += random.pick([INJECTED, response(random), '\r\n', '\0', 'x', '0\r\n\r\n'])
  if (random.chance(0.06)) text = text.slice(0, random.below(text.length))
  if (random.chance(0.01)) text = 'HTTP/1.1 100 Continue\r\n\r\n'.repeat(60) + text
  const bytes = bytesOf(text)
  return {
    bytes,
    cuts: cutsOf(random, bytes.length),
    method: random.pick(['GET', 'GET', 'GET', 'HEAD', 'POST'] as const),
    end: random.pick(['keep', 'keep', 'fin', 'reset'] as const),
  }
}
