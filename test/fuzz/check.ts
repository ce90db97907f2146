/**
 * Compares what Node reads in a session's bytes, what the gateway's log says, what the outside got and what the caller got.
 * The rules: what went out is a request that Node sees at the same place, with what the contract removes and adds and
 * nothing else; whoever is refused is refused once; nothing is read behind a refusal; one line, one answer per request.
 */
import { type Answer, lists, valuesOf } from './answers.ts'
import { type Decision, inOrder, isReadAhead } from './engine-differences.ts'
import type { Message } from './node-reader.ts'
import type { Recorded } from './recorder.ts'
import type { Session } from './session.ts'
import type { Line } from './world.ts'

/** Contract §4, Headers outside; RFC 9110 §7.6.1. */
const REMOVED = new Set([
  'host',
  'x-request-id',
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'upgrade',
  'http2-settings',
  'expect',
  'forwarded',
])
/** Compared apart: engines put them at different places. */
const FRAMING = new Set(['content-length', 'transfer-encoding', 'connection', 'upgrade'])

/** The fields that must have gone out for this request, without those that frame it. */
function expectedFields(message: Message, requestId: string): string[] {
  const named = new Set(
    valuesOf(message.fields, 'connection').flatMap((value) =>
      value.split(',').map((each) => each.trim().toLowerCase()),
    ),
  )
  const out = ['host', canonicalAuthority(message)]
  let cookie = -1
  for (let i = 0; i < message.fields.length; i += 2) {
    const name = message.fields[i] as string
    const value = message.fields[i + 1] as string
    if (REMOVED.has(name) || FRAMING.has(name) || named.has(name) || /^x-(?:forwarded|envoy|sallyport)-/.test(name))
      continue
    if (name === 'cookie' && cookie !== -1)
      // Empty ones leave as nothing (test/regression/empty-cookies.test.ts).
      out[cookie] = [out[cookie], value].filter((each) => each !== '').join('; ')
    else {
      out.push(name, value)
      if (name === 'cookie') cookie = out.length - 1
    }
  }
  return [...out, 'x-request-id', requestId]
}

/** What Host may be when a request goes out, in its one form; anything else must have been refused. */
function canonicalAuthority({ fields }: Message): string {
  const hosts = valuesOf(fields, 'host')
  const [, name, port] = /^([a-z0-9-]+(?:\.[a-z0-9-]+)*)\.?(:[1-9]\d{0,4})?$/i.exec(hosts[0] ?? '') ?? []
  if (hosts.length !== 1 || name === undefined) return '(no authority)'
  return `${name.toLowerCase()}${port ?? ''}`
}

/** Origin-form of the same; the fragment never leaves. */
function expectedStart(message: Message): string {
  const [method = '', ...rest] = message.start.split(' ')
  const target = rest.join(' ').replace(/#.*$/, '')
  const absolute = /^https?:\/\/([^/?]*)(.*)$/i.exec(target)
  if (absolute === null) return `${method} ${target}`
  const [, authority = '', path = ''] = absolute
  const same = canonicalAuthority({ ...message, fields: ['host', authority] }) === canonicalAuthority(message)
  return same ? `${method} ${path.startsWith('/') ? path : `/${path}`}` : '(another authority)'
}

function carriedProblems(message: Message, sent: Recorded): string[] {
  const problems: string[] = []
  const fields = sent.fields.filter((_, i) => !FRAMING.has(sent.fields[i - (i % 2)] as string))
  const differ = (what: string, got: unknown, expected: unknown): void => {
    if (JSON.stringify(got) !== JSON.stringify(expected))
      problems.push(`${what}: sent ${JSON.stringify(got)}, Node reads ${JSON.stringify(expected)}`)
  }
  differ('line', sent.start, expectedStart(message))
  differ('fields', fields, expectedFields(message, sent.requestId))
  differ('version', [sent.minorVersion, message.minorVersion], [1, 1])
  const lengths = valuesOf(message.fields, 'content-length')
  const codings = valuesOf(message.fields, 'transfer-encoding')
  if (lengths.length + codings.length > 1) problems.push('sent although it is framed in two ways')
  // A request that asks for WebSocket has no body, in one form.
  const changes = valuesOf(sent.fields, 'upgrade').length > 0
  differ('length', valuesOf(sent.fields, 'content-length'), changes ? lengths.filter((each) => each !== '0') : lengths)
  differ('coding', valuesOf(sent.fields, 'transfer-encoding'), codings.length > 0 ? ['chunked'] : [])
  if (sent.whole) {
    differ('body', sent.body, message.body)
    if (!message.whole) problems.push('sent whole, but it is not')
  } else if (!message.body.startsWith(sent.body)) problems.push('what was sent of the body is not its beginning')
  if (sent.trailers.length > 0) problems.push(`trailers were sent: ${JSON.stringify(sent.trailers)}`)
  return problems
}

export function decisionsOf(lines: readonly Line[], outside: ReadonlyMap<string, Recorded>): Decision[] {
  return inOrder(lines).map(({ requestId, code, details }) => ({
    sent: outside.get(requestId ?? '')?.whole === true,
    code,
    details,
  }))
}

/**
 * Empty: everything is as it must be. `outside`: by request id. `blankBehind`: the bytes end with empty lines that Node
 * passes over; the gateway passes over one, and takes more of them for the beginning of something. `readsAhead`: the engine's
 * parser reads what stands behind a request before that is answered; when the connection then ends, it has lines, but no answers.
 */
export function problemsOf(
  session: Session,
  logged: readonly Line[],
  outside: ReadonlyMap<string, Recorded>,
  blankBehind: boolean,
  readsAhead: boolean,
): readonly string[] {
  const problems: string[] = []
  const { messages, answers, ending } = session
  // Node takes it for the end of the connection; nobody else looks into what is dropped. No boundary depends on it.
  if (messages.some(({ trailers }) => valuesOf(trailers, 'connection').length > 0)) return problems
  // Known: Node lets go of the socket at a CONNECT, and a large answer in front of it may never come to its end.
  if (readsAhead && ending === 'connect') return problems
  if (session.hung) problems.push('neither an answer nor an end came')
  if (answers.broken !== null) problems.push(`the caller cannot read what came: ${answers.broken}`)
  let seen = 0
  const lines = inOrder(logged)
  for (const [i, line] of lines.entries()) {
    const message = messages[i]
    const sent = outside.get(line.requestId ?? '')
    const last = i === lines.length - 1
    const say = (problem: string): void => void problems.push(`request ${i + 1}: ${problem}`)
    if (sent !== undefined) {
      if (message === undefined) say('was sent, and Node sees none')
      else for (const problem of carriedProblems(message, sent)) say(problem)
      if (!sent.whole && (line.details === 'via_upstream' || !last)) say('was not sent whole, and went on')
    } else if (line.upstream !== null && line.code !== 0) say('went out, says the log, and nothing came')
    if (!last && message?.whole !== true) say('is none for Node, and the gateway has read on behind it')
    if (line.code === 0) {
      if (!last && !(readsAhead && session.left)) say('had no answer, and the gateway has read on behind it')
      continue
    }
    const answer = answers.answers[seen++]
    if (answer === undefined && last && readsAhead && isReadAhead(line) && session.left) break
    if (answer === undefined) say(`the log says ${line.code}, and no answer came`)
    else for (const problem of answerProblems(answer, line, sent)) say(problem)
  }
  if (answers.answers.length > seen) problems.push(`${answers.answers.length} answers for ${seen} that the log knows`)
  if (answers.rest !== '' && answers.broken === null)
    problems.push(`the caller was left with ${JSON.stringify(answers.rest.slice(0, 80))}`)
  if (lines.length < messages.length && !mayStop(session, lines)) {
    problems.push(`Node reads ${messages.length} requests, the log has ${lines.length}, and nothing says why`)
  }
  // One more: the beginning of something, or what is no request.
  const most = ending === 'clean' && !blankBehind ? messages.length : messages.length + 1
  if (lines.length > most)
    problems.push(`Node reads ${messages.length} requests (${ending}), the log has ${lines.length}`)
  const lastLine = lines.at(-1)
  const carriedLast =
    lastLine !== undefined && lastLine.code !== 0 && outside.get(lastLine.requestId ?? '')?.whole === true
  if (ending === 'broken' && !session.left && lines.length === messages.length && carriedLast && !closedByBoth(session))
    problems.push('Node refuses what follows, and the gateway went on waiting for it')
  return problems
}

function answerProblems(answer: Answer, line: Line, sent: Recorded | undefined): string[] {
  if (answer.status !== line.code) return [`was answered ${answer.status}, the log says ${line.code}`]
  const echoes = valuesOf(answer.fields, 'x-echo')
  if (sent === undefined)
    return echoes.length > 0 ? ['was answered by the site, which never got it'] : ownAnswerProblems(answer)
  if (!sent.whole) return echoes.length > 0 ? ['was answered by the site, which did not get all of it'] : []
  return echoes.length === 1 && echoes[0] === sent.requestId ? [] : [`got the answer of ${JSON.stringify(echoes)}`]
}

function ownAnswerProblems({ status, fields }: Answer): string[] {
  return status < 400 && valuesOf(fields, 'grpc-status').length === 0
    ? [`the gateway answered ${status} by itself: ${JSON.stringify(fields)}`]
    : []
}

function closes(answer: Answer | undefined): boolean {
  return answer !== undefined && lists(answer.fields, 'close')
}

/** The gateway has ended the connection for a reason that can be seen. */
function mayStop({ messages, left, answers }: Session, lines: readonly Line[]): boolean {
  const line = lines.at(-1)
  const message = messages[lines.length - 1]
  if (closes(answers.answers.at(-1))) return true
  if (!left || line === undefined || message === undefined) return false
  if (line.details !== 'via_upstream') return true
  return line.code === 0
}

/** Node refuses whatever stands behind a request that ends the connection. */
function closedByBoth({ messages }: Session): boolean {
  const last = messages.at(-1)
  return last !== undefined && (last.minorVersion === 0 || lists(last.fields, 'close'))
}
