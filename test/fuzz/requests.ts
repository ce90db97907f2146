/** A grammar of HTTP/1.1 requests that knows how people get them wrong, one to three in a row. */
import { bytesOf, cutsOf, type Input, mutated } from './input.ts'
import { chunkedBody, lineEnd, ODDNESS, Part } from './parts.ts'
import type { Random } from './random.ts'
import { HOSTS, ODD_HOSTS, ODD_TARGETS, PLAIN_FIELDS, SITE, SPECIAL_FIELDS, TARGETS } from './request-words.ts'

function field(part: Part, random: Random): string {
  const text = random.chance(0.25) ? random.pick(SPECIAL_FIELDS) : random.pick(PLAIN_FIELDS)
  const colon = text.indexOf(':')
  return (
    part.of('', ' ', '\t', '\0', ':', '\r\n') +
    text.slice(0, colon) +
    part.of(':', ' :', '\t:', '', '::', '\0:', ':\0', ':\x0b', ':\x0c', ':\r', ':\n') +
    text.slice(colon + 1) +
    part.of('', ' ', '\t ', '\0', '\x7f', '\r', ' x') +
    lineEnd(part)
  )
}

function hostField(part: Part, random: Random): string {
  const host = part.from(HOSTS, ...ODD_HOSTS)
  const name = part.from(['Host', 'host', 'HOST'], 'Host ', 'Hos t', 'host\0', ' host', 'H\xf6st')
  const once = `${name}${part.of(': ', ':', ':\t', ':  ', ' : ')}${host}${part.of('', ' ', '\t')}${lineEnd(part)}`
  if (random.chance(0.01)) return ''
  return random.chance(0.01) ? once + `host: ${random.pick(HOSTS)}\r\n` : once
}

const SMUGGLED = `GET /smuggled HTTP/1.1\r\nHost: ${SITE}\r\n\r\n`
const CONTENTS = [
  '',
  'x',
  'hello',
  '0\r\n\r\n',
  '\r\n',
  SMUGGLED,
  `0\r\n\r\n${SMUGGLED}`,
  'y'.repeat(300),
  '\0\xff\r\n\r\n',
]

/** The fields that frame the body, and the body. */
function framed(part: Part, random: Random): { readonly fields: string; readonly body: string } {
  const content = random.pick(CONTENTS)
  const { length } = content
  const end = lineEnd(part)
  switch (random.below(5)) {
    case 0:
    case 1:
      return { fields: '', body: part.of('', content, chunkedBody(part, random, content)) }
    case 2:
      return { fields: lengthField(part, length) + end, body: content }
    case 3:
      return { fields: codingField(part) + end, body: chunkedBody(part, random, content) }
    default: {
      if (!random.chance(0.2)) return { fields: lengthField(part, length) + end, body: content }
      // Both, in either order; or two of one.
      const [first, second] = random.pick([
        [lengthField(part, length), codingField(part)],
        [codingField(part), lengthField(part, length)],
        [lengthField(part, length), lengthField(part, length)],
        [lengthField(part, length), `content-length: ${length + 5}`],
        [codingField(part), codingField(part)],
      ] as const)
      return {
        fields: `${first}\r\n${second}${end}`,
        body: random.chance(0.5) ? content : chunkedBody(part, random, content),
      }
    }
  }
}

function lengthField(part: Part, length: number): string {
  const name = part.from(['Content-Length', 'content-length'], 'content-length ', 'content_length', 'content-length\t')
  const value = part.of(
    String(length),
    `0${length}`,
    `+${length}`,
    `-${length}`,
    `${length},${length}`,
    `${length}, ${length + 1}`,
    `${length}.0`,
    `0x${length.toString(16)}`,
    `${length}e0`,
    `${length} ${length}`,
    '',
    ' ',
    `"${length}"`,
    `${length}\x0b`,
    `${length + 1}`,
    `${Math.max(0, length - 1)}`,
    '18446744073709551616',
    `1844674407370955161${length}`,
    '999999999999999',
  )
  return `${name}${part.of(': ', ':', ':\t', ':  ')}${value}${part.of('', ' ', '\t')}`
}

function codingField(part: Part): string {
  const name = part.from(
    ['Transfer-Encoding', 'transfer-encoding'],
    'transfer-encoding ',
    'transfer_encoding',
    'Transfer-Encoding\t',
    ' transfer-encoding',
  )
  const value = part.from(
    ['chunked', 'Chunked', 'CHUNKED'],
    'xchunked',
    'chunked, identity',
    'identity, chunked',
    'gzip, chunked',
    'chunked, chunked',
    'chunked,',
    ',chunked',
    'chunked;q=1',
    '"chunked"',
    'identity',
    '',
    'chun ked',
    'chunked\x0b',
    '\x0bchunked',
    'chunked\0',
    'c\xefunked',
    'cow\r\ntransfer-encoding: chunked',
  )
  return `${name}${part.of(': ', ':', ':\t', ':  ', ' : ')}${value}${part.of('', ' ', '\t')}`
}

function request(random: Random): string {
  const part = new Part(random, random.pick(ODDNESS))
  const { fields, body } = framed(part, random)
  let text =
    part.of('', '\r\n', '\n', ' ', '\r\n\r\n', '\0', '\t') +
    part.from(
      ['GET', 'POST', 'PUT', 'DELETE', 'HEAD', 'OPTIONS', 'PATCH'],
      'get',
      'CONNECT',
      'TRACE',
      'PRI',
      'M-SEARCH',
      'FOO',
      'GE T',
      'G\0T',
      '',
      'PURGE',
      'QUERY',
      '"GET"',
      'GET\r',
    ) +
    part.of(' ', '  ', '\t', '', '\r\n', '\x0b', '\xa0') +
    part.from(TARGETS, ...ODD_TARGETS) +
    part.of(' ', '  ', '\t', '', '\r', ' x ') +
    part.of(
      'HTTP/1.1',
      'HTTP/1.0',
      'HTTP/2.0',
      'HTTP/0.9',
      'HTTP/1.2',
      'HTTP/1.10',
      'http/1.1',
      'HTTP/1',
      'HTTP/1.1 ',
      'HTTP/01.1',
      'HTTPS/1.1',
      'ICE/1.0',
      'RTSP/1.0',
      'HTTP/1,1',
      '',
    ) +
    lineEnd(part)
  const before: string[] = []
  for (let i = random.below(3); i > 0; i--) before.push(field(part, random))
  before.splice(random.below(before.length + 1), 0, hostField(part, random))
  before.splice(random.below(before.length + 1), 0, fields)
  text += before.join('') + lineEnd(part) + body
  return random.chance(0.15) ? mutated(random, text) : text
}

/** Some end in the middle, or go on with what is no request. */
export function requestInput(random: Random): Input {
  const messages: string[] = []
  for (let i = random.pick([1, 1, 2, 3]); i > 0; i--) messages.push(request(random))
  let text = messages.join(random.chance(0.04) ? random.pick(['\r\n', '\n', ' ', '0\r\n\r\n', '\0', 'x']) : '')
  if (random.chance(0.05)) text = mutated(random, text)
  if (random.chance(0.05)) text = text.slice(0, 1 + random.below(text.length))
  if (random.chance(0.02)) text += random.pick(['\r\n', '\r\n\r\n', '\n', 'G', '\0', '\x16\x03\x01'])
  const bytes = bytesOf(text === '' ? '\r\n' : text)
  return { bytes, cuts: cutsOf(random, bytes.length) }
}
