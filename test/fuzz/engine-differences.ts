/**
 * TABLE of where the engines decide differently about the same bytes, and why. Always the same way round: `wire` refuses
 * what Node's parser takes; it never carries what the other engine refuses.
 */
import { lists, valuesOf } from './answers.ts'
import type { Message } from './node-reader.ts'
import type { Line } from './world.ts'

/** What became of a request. */
export type Decision = { readonly sent: boolean; readonly code: number; readonly details: string }

export type Row = {
  /** In `wire`'s response_code_details. */
  readonly details: RegExp
  readonly why: string
}

export const DIFFERENCES: readonly Row[] = [
  { details: /INVALID_TARGET/, why: 'several spaces before a target; Node passes over them, RFC 9112 §3 has one' },
  { details: /INVALID_VERSION/, why: 'several spaces behind a target' },
  { details: /INVALID_METHOD/, why: 'more than one empty line before a request; Node passes over any number' },
  { details: /INVALID_LINE_END/, why: 'a line feed alone before a request; Node passes over it' },
  {
    details: /INVALID_CHUNK_SIZE/,
    why: 'chunk extensions that RFC 9112 §7.1.1 does not know, such as one without a name',
  },
  {
    details: /INVALID_FIELD_VALUE/,
    why: 'a tab beside what frames a message, which other readers take for a part of it',
  },
]

/**
 * The lines of one connection in the order of its requests. Node's parser reads ahead: what it refuses is logged before the
 * requests in front of it are answered.
 */
export function inOrder(lines: readonly Line[]): readonly Line[] {
  return [...lines.filter((line) => !isNoRequest(line)), ...lines.filter(isNoRequest)]
}

/** Nothing could be read of it, not even its head: it has no id. */
function isNoRequest({ requestId }: Line): boolean {
  return requestId === null
}

/** Node's parser has refused it, or its body. Behind a connection's last request nobody is told, the connection ends. */
export function isReadAhead({ requestId, details }: Line): boolean {
  return requestId === null || details.startsWith('http1.codec_error{HPE_')
}

/** null: the same, or explained above. Whoever is refused by both is refused: what each calls the fault is its own matter. */
export function difference(
  wire: readonly Decision[],
  other: readonly Decision[],
  messages: readonly Message[],
): string | null {
  for (let i = 0; i < Math.max(wire.length, other.length); i++) {
    const [mine, its] = [wire[i], other[i]]
    const message = messages[i]
    if (mine === undefined) return its === undefined || !its.sent || hasEnded(wire[i - 1]) ? null : told(i, mine, its)
    if (mine.sent && (its?.sent !== true || its.code !== mine.code)) return told(i, mine, its)
    if (!mine.sent && its?.sent === true) return isExplained(mine) ? null : told(i, mine, its)
    if (message === undefined || !message.whole || lists(message.fields, 'close')) return null
    // Answered before its body has come the connection ends; whether it has come is a matter of how it was cut.
    if (!mine.sent && hasBody(message)) return null
  }
  return null
}

/** Refused by both, for other reasons, and `wire` has ended the connection by its stricter reading. */
function hasEnded(decision: Decision | undefined): boolean {
  return decision !== undefined && !decision.sent && isExplained(decision)
}

function hasBody({ fields }: Message): boolean {
  return (
    valuesOf(fields, 'transfer-encoding').length > 0 || valuesOf(fields, 'content-length').some((each) => each !== '0')
  )
}

function isExplained(mine: Decision): boolean {
  return DIFFERENCES.some(({ details }) => details.test(mine.details))
}

function told(index: number, mine: Decision | undefined, its: Decision | undefined): string {
  const say = (each: Decision | undefined): string =>
    each === undefined ? 'nothing' : `${each.sent ? 'sent' : 'refused'} ${each.code} ${each.details}`
  return `request ${index + 1}: wire ${say(mine)}; http-proxy ${say(its)}`
}
