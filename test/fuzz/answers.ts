/** The gateway's answers as a caller reads them: no parser of ours or of Node's, and nothing but what the gateway may write. */

export type Answer = {
  readonly status: number
  /** Flat, lower-case names. */
  readonly fields: readonly string[]
  readonly body: string
}

export type Answers = {
  readonly answers: readonly Answer[]
  /** Interim ones, which are not counted above. */
  readonly interim: number
  /** The beginning of one more, or what is none. */
  readonly rest: string
  /** Why `rest` can never become an answer; null: it can. */
  readonly broken: string | null
}

const STATUS_LINE = /^HTTP\/1\.1 ([1-5]\d\d) [^\r\n]*$/
const FIELD = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+): ([\t\x20-\x7e\x80-\xff]*)$/

/**
 * `methods`: of the requests, in order; an answer to HEAD has no body whatever it says. `ended`: an answer that says nothing
 * of its length but that it is the last one ends with `text`; only old callers (HTTP/1.0) may be answered so.
 */
export function readAnswers(text: string, methods: readonly string[], ended = false): Answers {
  const answers: Answer[] = []
  let interim = 0
  let at = 0
  const stopped = (broken: string | null): Answers => ({ answers, interim, rest: text.slice(at), broken })
  while (at < text.length) {
    const end = text.indexOf('\r\n\r\n', at)
    if (end === -1) return stopped(null)
    const [first = '', ...lines] = text.slice(at, end).split('\r\n')
    const status = Number(STATUS_LINE.exec(first)?.[1] ?? 0)
    if (status === 0) return stopped('no status line')
    const fields: string[] = []
    for (const line of lines) {
      const [, name, value] = FIELD.exec(line) ?? []
      if (name === undefined || value === undefined) return stopped(`no field: ${JSON.stringify(line)}`)
      fields.push(name.toLowerCase(), value)
    }
    if (status < 200) {
      if (status === 101) return stopped('101')
      interim++
      at = end + 4
      continue
    }
    const bodiless = methods[answers.length] === 'HEAD' || status === 204 || status === 304
    const untilEnd = ended && lists(fields, 'close') && !fields.some(isFraming)
    const body = bodiless
      ? { text: '', end: end + 4 }
      : untilEnd
        ? { text: text.slice(end + 4), end: text.length }
        : readBody(text, end + 4, fields)
    if (typeof body === 'string') return stopped(body)
    if (body === null) return stopped(null)
    answers.push({ status, fields, body: body.text })
    at = body.end
  }
  return stopped(null)
}

/** null: not whole yet; a string: it can never be. */
function readBody(text: string, start: number, fields: readonly string[]) {
  const lengths = valuesOf(fields, 'content-length')
  const codings = valuesOf(fields, 'transfer-encoding')
  if (lengths.length + codings.length !== 1) return 'not framed in one way'
  const [length] = lengths
  if (length !== undefined) {
    if (!/^(?:0|[1-9]\d*)$/.test(length)) return 'a length that is none'
    const end = start + Number(length)
    return end > text.length ? null : { text: text.slice(start, end), end }
  }
  if (codings[0] !== 'chunked') return 'a coding that is not "chunked"'
  let body = ''
  const size = /([1-9a-f][0-9a-f]*|0)\r\n/y
  for (let at = start; ; ) {
    size.lastIndex = at
    const [line, digits] = size.exec(text) ?? []
    if (line === undefined || digits === undefined)
      return /^(?:(?:[1-9a-f][0-9a-f]*|0)\r?)?$/.test(text.slice(at)) ? null : 'a chunk that is none'
    const from = at + line.length
    const to = from + Number.parseInt(digits, 16)
    if (to + 2 > text.length) return null
    if (!text.startsWith('\r\n', to)) return 'a chunk without its end'
    body += text.slice(from, to)
    at = to + 2
    if (digits === '0') return { text: body, end: at }
  }
}

function isFraming(text: string, i: number): boolean {
  return i % 2 === 0 && (text === 'content-length' || text === 'transfer-encoding')
}

export function valuesOf(fields: readonly string[], name: string): string[] {
  return fields.filter((_, i) => i % 2 === 1 && fields[i - 1] === name)
}

/** `Connection` lists `option`, in any of its fields. */
export function lists(fields: readonly string[], option: string): boolean {
  return valuesOf(fields, 'connection').some((value) =>
    value.split(',').some((each) => each.trim().toLowerCase() === option),
  )
}
