/** What requests and answers are made of, right and wrong. */
import type { Random } from './random.ts'

/** How often a part is odd. A message that is odd everywhere is refused at its first byte and shows nothing. */
export const ODDNESS = [0, 0, 0, 0.02, 0.08, 0.25] as const

/** Chooses between what is right and what is not. */
export class Part {
  readonly #random: Random
  readonly #oddness: number

  constructor(random: Random, oddness: number) {
    this.#random = random
    this.#oddness = oddness
  }

  /** The first one, or one of the others. */
  of(good: string, ...odd: readonly string[]): string {
    return this.#random.chance(this.#oddness) ? this.#random.pick(odd) : good
  }

  /** One of the good ones, or one of the others. */
  from(good: readonly string[], ...odd: readonly string[]): string {
    return this.of(this.#random.pick(good), ...odd)
  }
}

export const lineEnd = (part: Part) => part.of('\r\n', '\n', '\r', '\r\r\n', '\r\n ', '\r\n\t', '\n\r\n', '\r\n\r\n')

function chunk(part: Part, random: Random, data: string): string {
  const hex = data.length.toString(16)
  const size = part.of(
    random.chance(0.2) ? `00${hex}` : random.chance(0.2) ? hex.toUpperCase() : hex,
    `0x${hex}`,
    `+${hex}`,
    `-${hex}`,
    ` ${hex}`,
    `${hex} `,
    `${hex}\t`,
    `${hex}h`,
    `"${hex}"`,
    '',
    `1${'0'.repeat(8)}${hex}`,
    `1${'0'.repeat(16)}${hex}`,
    (data.length + 1).toString(16),
    Math.max(0, data.length - 1).toString(16),
  )
  return (
    size +
    extension(part, random) +
    lineEnd(part) +
    data +
    part.of('\r\n', '\n', '\r', '', '\r\n\r\n', ' \r\n', '0\r\n')
  )
}

function extension(part: Part, random: Random): string {
  if (!random.chance(0.15)) return part.of('', ';', ' ;a', '; a', ';a =b', ';a= b', ';\0', ';a\n', ';"a"', ';a=', ';=b')
  return random.pick([';a', ';a=b', ';a="b c"', ';a="\\""', ';a;b=c', ';a="', ';a="b"c', ';a=b;', `;${'e'.repeat(40)}`])
}

const TRAILERS = [
  'x-t: 1',
  'content-length: 5',
  'host: denied.example',
  'transfer-encoding: chunked',
  'x-t:1 ',
  'cookie: z',
]

/** A body in chunks, and its trailers. */
export function chunkedBody(part: Part, random: Random, content: string): string {
  let text = ''
  for (let at = 0; at < content.length; ) {
    const length = random.chance(0.5) ? content.length - at : 1 + random.below(content.length - at)
    text += chunk(part, random, content.slice(at, at + length))
    at += length
  }
  text += part.of('0', '00', '000000000', '0x0', '-0', '+0', ' 0', '') + extension(part, random) + lineEnd(part)
  if (random.chance(0.15)) text += random.pick(TRAILERS) + lineEnd(part)
  return text + lineEnd(part)
}
