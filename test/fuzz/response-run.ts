/**
 * Answers of hostile sites through whole gateways: the caller gets the very answer that Node reads, or an error of the
 * gateway's, or a cut that it can tell from an end; never two, and never a piece of one in the next request's answer.
 */
import { setImmediate as turn } from 'node:timers/promises'
import type { HttpEngine } from '../../src/model/settings.ts'
import { documents, gateway, serviceEntry, to, virtualService } from '../integration/manifests.ts'
import { type Answer, type Answers, lists, valuesOf } from './answers.ts'
import { Caller } from './caller.ts'
import { FuzzedSite } from './fuzzed-site.ts'
import { type Message, nodesResponse } from './node-reader.ts'
import type { ResponseInput } from './responses.ts'
import { type Line, World } from './world.ts'

/** Each has a host of its own, and so connections to the outside of its own: what is left over is seen by nobody else. */
const LANES = 16
const hostOf = (lane: number) => `lane-${lane}.example`

export type ResponseFinding = {
  readonly engine: HttpEngine
  readonly problems: readonly string[]
  readonly input: ResponseInput | null
}

/** What a caller made of one answer. */
export type Seen = {
  /** `whole`: the site's, as it is; `refused`: the gateway's own; `cut`: the beginning of the site's. */
  readonly kind: 'whole' | 'refused' | 'cut'
  readonly line: Line | null
}

export type ResponseSide = { readonly world: World; readonly site: FuzzedSite }

export async function startResponseSide(engine: HttpEngine): Promise<ResponseSide> {
  const site = await FuzzedSite.start()
  const hosts = Array.from({ length: LANES }, (_, lane) => hostOf(lane))
  const all = documents(
    gateway(),
    ...hosts.map((host, i) => serviceEntry(`lane-${i}`, host, site.port)),
    ...hosts.map((host, i) => virtualService(`lane-${i}`, [host], [{ route: to(host), retries: { attempts: 0 } }])),
  )
  return { world: await World.start(engine, { 'all.yaml': all }), site }
}

/** A clean end. */
export async function stopResponseSide({ world, site }: ResponseSide): Promise<void> {
  await world.stop()
  await site.close()
}

/** An end however it stands. Idempotent. */
export async function abandonResponseSide({ world, site }: ResponseSide): Promise<void> {
  await site.close()
  await world.harness.gateway.destroy()
}

const REMOVED = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
  'expect',
  'server',
])

/** The fields of the site's answer that the caller must get, without those the gateway adds. */
function expectedFields({ start, fields }: Message): string[] {
  const named = new Set(
    valuesOf(fields, 'connection').flatMap((value) => value.split(',').map((each) => each.trim().toLowerCase())),
  )
  const bodiless = start === '204' || start === '205'
  return pairs(fields)
    .filter(([name]) => !REMOVED.has(name) && !named.has(name) && !/^x-(?:envoy|sallyport)-/.test(name))
    .filter(([name]) => !(bodiless && name === 'content-length'))
    .flat()
}

function pairs(fields: readonly string[]): (readonly [string, string])[] {
  return fields.flatMap((name, i) => (i % 2 === 0 ? [[name, fields[i + 1] as string] as const] : []))
}

/** What the gateway adds to every answer; `date` only where there is none. */
function withoutAdded(answer: Answer, message: Message): string[] {
  const added = new Set(['x-envoy-upstream-service-time', 'server', 'connection', 'transfer-encoding'])
  if (valuesOf(expectedFields(message), 'date').length === 0) added.add('date')
  return pairs(answer.fields)
    .filter(([name]) => !added.has(name))
    .flat()
}

/** Its end can be told from its bytes. */
function endsByItself({ start, fields }: Message, method: string): boolean {
  const bodiless = method === 'HEAD' || start === '204' || start === '304'
  return bodiless || valuesOf(fields, 'content-length').length + valuesOf(fields, 'transfer-encoding').length > 0
}

type Case = {
  readonly input: ResponseInput
  readonly path: string
  readonly message: Message | null
  readonly problems: string[]
  answers: Answers | null
}

/** Sends every input once, by as many lanes as there are. */
async function drive({ world, site }: ResponseSide, inputs: readonly ResponseInput[], first: number): Promise<Case[]> {
  const cases: Case[] = []
  let next = 0
  const lane = async (index: number): Promise<void> => {
    let caller = await Caller.open(world.port)
    while (next < inputs.length) {
      const number = next++
      const given = inputs[number] as ResponseInput
      const message = await nodesResponse(given.bytes, given.method)
      // What lasts until the connection's end must come to one; so must what never becomes an answer.
      // So must what Node reads as no coding at all, although it tells of it as if it were one (a tab beside it).
      const tab = /\btransfer-encoding:[^\n]*\t/i.test(given.bytes.toString('latin1'))
      const open = message?.whole !== true || !endsByItself(message, given.method) || tab
      const input: ResponseInput = open && given.end === 'keep' ? { ...given, end: 'fin' } : given
      const path = `/f/${first + number}`
      const each: Case = { input, path, message, problems: [], answers: null }
      cases.push(each)
      const written = site.script(path, input)
      each.answers = await caller.ask(input.method, path, hostOf(index))
      if (each.answers === null) each.problems.push('neither an answer nor an end came')
      else await written
      site.forget(path)
      // What is on its way, to the gateway and from it, arrives.
      await turn()
      await turn()
      await turn()
      if (each.answers !== null) each.answers = caller.read(input.method)
      if (caller.closed || each.answers === null || goesOn(each.answers) === false) {
        caller.end()
        caller = await Caller.open(world.port)
      }
      const honest = `/honest/${first + number}`
      const answer = (await caller.ask('GET', honest, hostOf(index)))?.answers[0]
      if (answer?.body !== honest || answer.status !== 200)
        each.problems.push(`the next answer on this lane is not its own: ${JSON.stringify(answer)}`)
      if (caller.closed) caller = await Caller.open(world.port)
    }
    caller.end()
  }
  await Promise.all(Array.from({ length: LANES }, (_, index) => lane(index)))
  return cases
}

/** The connection is in step: one answer, nothing behind it, and it does not say that it ends. */
function goesOn({ answers, rest }: Answers): boolean {
  const [answer] = answers
  return answers.length === 1 && rest === '' && answer !== undefined && !lists(answer.fields, 'close')
}

function judge(each: Case, lines: readonly Line[]): Seen {
  const { problems, answers, input } = each
  const [line = null] = lines
  if (lines.length !== 1) problems.push(`${lines.length} lines for one request: ${JSON.stringify(lines)}`)
  if (answers === null || line === null) return { kind: 'cut', line }
  if (answers.broken !== null) problems.push(`the caller cannot read what came: ${answers.broken}`)
  if (answers.interim > 0) problems.push('an interim answer came that nobody asked for')
  if (answers.answers.length > 1) problems.push('two answers came')
  const [answer] = answers.answers
  if (answer === undefined) {
    judgeCut(each, answers.rest, line)
    return { kind: 'cut', line }
  }
  if (answers.rest !== '')
    problems.push(`something came behind the answer: ${JSON.stringify(answers.rest.slice(0, 80))}`)
  if (answer.status !== line.code) problems.push(`answered ${answer.status}, the log says ${line.code}`)
  if (line.details !== 'via_upstream') {
    if (![502, 503].includes(answer.status) && valuesOf(answer.fields, 'grpc-status').length === 0)
      problems.push(`the gateway answered ${answer.status} by itself`)
    return { kind: 'refused', line }
  }
  judgeWhole(each, answer, input.method)
  return { kind: 'whole', line }
}

function judgeWhole({ message, problems, input }: Case, answer: Answer, method: string): void {
  if (message === null) return void problems.push('an answer came, and Node sees none')
  if (!message.whole) problems.push('the answer came to its end, and Node sees none')
  if (input.end === 'reset' && !endsByItself(message, method))
    problems.push('the site reset the connection, and the answer came to a clean end')
  const differ = (what: string, got: unknown, expected: unknown): void => {
    if (JSON.stringify(got) !== JSON.stringify(expected))
      problems.push(`${what}: came ${JSON.stringify(got)}, Node reads ${JSON.stringify(expected)}`)
  }
  differ('status', String(answer.status), message.start)
  differ('fields', withoutAdded(answer, message), expectedFields(message))
  const bodiless = method === 'HEAD' || message.start === '204' || message.start === '304'
  differ('body', answer.body, bodiless ? '' : message.body)
}

/** The beginning of the site's answer, or nothing at all: the log must say that it was no end. */
function judgeCut({ message, problems }: Case, rest: string, line: Line): void {
  if (rest !== '' && message === null) problems.push('the beginning of an answer came, and Node sees none')
  if (rest !== '' && message !== null && !rest.startsWith(`HTTP/1.1 ${message.start} `))
    problems.push(`another answer began: ${JSON.stringify(rest.slice(0, 60))}`)
  if (line.flags === null || line.flags === '-') problems.push('the answer was cut, and the log does not say so')
}

/** TABLE of what `wire` refuses or cuts and Node's parser passes on; never the other way round. */
const DIFFERENCES: readonly { readonly details: RegExp; readonly why: string }[] = [
  { details: /INVALID_VERSION/, why: 'line ends before an answer; Node passes over them' },
  { details: /INVALID_STATUS/, why: 'control characters in a reason phrase' },
  {
    details: /INVALID_FIELD_VALUE/,
    why: 'a tab beside what frames a message, which other readers take for a part of it',
  },
  { details: /after_response_started/, why: 'trailers that frame the message' },
]

/** null: over both engines the caller saw the same, or the table says why not. */
export function responseDifference(input: ResponseInput, wire: Seen, other: Seen): string | null {
  // Whether a reset overtakes the bytes before it is up to the system.
  if (wire.kind === other.kind || input.end === 'reset' || wire.line === null) return null
  const { details } = wire.line
  if (wire.kind !== 'whole' && other.kind !== 'refused' && DIFFERENCES.some((row) => row.details.test(details)))
    return null
  return `wire: ${wire.kind} ${details}; http-proxy: ${other.kind} ${other.line?.details}`
}

export type ResponseResult = {
  readonly findings: readonly ResponseFinding[]
  readonly seen: ReadonlyMap<ResponseInput, Seen>
}

let numbered = 0

/** One batch, over one engine. */
export async function runResponses(side: ResponseSide, inputs: readonly ResponseInput[]): Promise<ResponseResult> {
  const { engine } = side.world
  const first = numbered
  numbered += inputs.length
  const cases = await drive(side, inputs, first)
  const byPath = new Map<string, Line[]>()
  for (const line of await side.world.lines()) {
    const path = line.path ?? ''
    const own = byPath.get(path)
    if (own === undefined) byPath.set(path, [line])
    else own.push(line)
  }
  const seen = new Map<ResponseInput, Seen>()
  const findings: ResponseFinding[] = []
  for (const each of cases) {
    const lines = byPath.get(each.path) ?? []
    byPath.delete(each.path)
    byPath.delete(each.path.replace('/f/', '/honest/'))
    seen.set(inputs[Number(each.path.slice('/f/'.length)) - first] as ResponseInput, judge(each, lines))
    if (each.problems.length > 0)
      findings.push({ engine, problems: [...each.problems, JSON.stringify(lines)], input: each.input })
  }
  if (byPath.size > 0)
    findings.push({ engine, problems: [`lines of nobody: ${JSON.stringify([...byPath.values()])}`], input: null })
  return { findings, seen }
}
