/** One case: bytes, and where they are cut into several writes. */
import type { Random } from './random.ts'

export type Input = {
  readonly bytes: Buffer
  /** Ascending offsets; none: one write. */
  readonly cuts: readonly number[]
}

export function piecesOf({ bytes, cuts }: Input): readonly Buffer[] {
  const pieces: Buffer[] = []
  let from = 0
  for (const to of [...cuts, bytes.length]) {
    if (to > from) pieces.push(bytes.subarray(from, to))
    from = Math.max(from, to)
  }
  return pieces
}

/** Half of all cases come in one piece; the others are cut anywhere, some of them all the way through. */
export function cutsOf(random: Random, length: number): readonly number[] {
  if (length < 2 || random.chance(0.5)) return []
  const count = random.chance(0.05) ? Math.min(length - 1, 40) : 1 + random.below(3)
  const cuts = new Set<number>()
  for (let i = 0; i < count; i++) cuts.add(1 + random.below(length - 1))
  return [...cuts].toSorted((a, b) => a - b)
}

const BYTES = [
  '\r',
  '\n',
  '\r\n',
  ' ',
  '\t',
  '\0',
  ':',
  ';',
  ',',
  '0',
  '5',
  'x',
  '\x7f',
  '\xff',
  '\x0b',
  '#',
  '"',
] as const

/** One byte, or some, are others, gone, doubled, or elsewhere. */
export function mutated(random: Random, text: string): string {
  if (text === '') return text
  const at = random.below(text.length)
  const length = random.chance(0.8) ? 1 : 1 + random.below(Math.min(24, text.length - at))
  const some = text.slice(at, at + length)
  switch (random.below(5)) {
    case 0:
      return text.slice(0, at) + random.pick(BYTES) + text.slice(at)
    case 1:
      return text.slice(0, at) + text.slice(at + length)
    case 2:
      return text.slice(0, at) + random.pick(BYTES) + text.slice(at + length)
    case 3:
      return text.slice(0, at) + some + text.slice(at)
    default: {
      const to = random.below(text.length)
      return text.slice(0, to) + some + text.slice(to)
    }
  }
}

/** Latin-1 both ways: one character is one byte. */
export function bytesOf(text: string): Buffer {
  return Buffer.from(text, 'latin1')
}
