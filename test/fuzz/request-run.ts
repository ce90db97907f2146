/** Request bytes through whole gateways, one for each engine; what they did with them is compared with Node and with each other. */
import type { HttpEngine } from '../../src/model/settings.ts'
import { authorizationPolicy, documents, gateway, serviceEntry, to, virtualService } from '../integration/manifests.ts'
import { decisionsOf, problemsOf } from './check.ts'
import { type Decision, difference } from './engine-differences.ts'
import type { Input } from './input.ts'
import { Recorder } from './recorder.ts'
import { DENIED, NARROW, SITE } from './request-words.ts'
import { Session } from './session.ts'
import { type Line, World } from './world.ts'

export type Finding = {
  readonly engine: HttpEngine
  readonly problems: readonly string[]
  readonly inputs: readonly Input[]
}

export type RunResult = {
  readonly findings: readonly Finding[]
  /** Requests that reached the outside. */
  readonly sent: number
  /** Per input: what became of its requests, for telling apart what is new. */
  readonly decisions: ReadonlyMap<Input, readonly Decision[]>
}

export type Side = { readonly world: World; readonly recorder: Recorder }

export async function startSide(engine: HttpEngine): Promise<Side> {
  const recorder = await Recorder.start()
  // A second try would be a second copy outside; that has tests of its own.
  const route = { route: to(SITE), retries: { attempts: 0 } }
  const all = documents(
    gateway(),
    ...[SITE, DENIED, NARROW].map((host, i) => serviceEntry(`site-${i}`, host, recorder.port)),
    virtualService('site', [SITE, DENIED], [route]),
    virtualService('narrow', [NARROW], [{ ...route, match: [{ uri: { prefix: '/ok' } }] }]),
    authorizationPolicy('denied', 'DENY', [{ to: [{ operation: { hosts: [DENIED] } }] }]),
  )
  return { world: await World.start(engine, { 'all.yaml': all }), recorder }
}

/** A clean end. */
export async function stopSide({ world, recorder }: Side): Promise<void> {
  await world.stop()
  await recorder.close()
}

/** An end however it stands. Idempotent. */
export async function abandonSide({ world, recorder }: Side): Promise<void> {
  await recorder.close()
  await world.harness.gateway.destroy()
}

/** How many connections are open at a time, and how many inputs one carries at most. */
const LANES = 24
const MAX_INPUTS = 8

/** Sends inputs over as few connections as they permit. `alone`: each over its own. */
async function drive({ world }: Side, inputs: readonly Input[], alone: boolean): Promise<Session[]> {
  const sessions: Session[] = []
  let next = 0
  const lane = async (): Promise<void> => {
    while (next < inputs.length) {
      const session = await Session.open(world.port, sessions.length)
      sessions.push(session)
      let more = true
      while (more && next < inputs.length && session.inputs.length < (alone ? 1 : MAX_INPUTS)) {
        const input = inputs[next++] as Input
        more = await session.send(input)
      }
      await session.end()
    }
  }
  await Promise.all(Array.from({ length: LANES }, lane))
  return sessions
}

type Outcome = { readonly session: Session; readonly lines: readonly Line[]; readonly problems: readonly string[] }

/** Sends them and checks each session by itself. `surplus`: what belongs to none. */
async function judge(side: Side, inputs: readonly Input[], alone: boolean) {
  const sessions = await drive(side, inputs, alone)
  const byAddress = new Map<string, Line[]>(sessions.map(({ address }) => [address, []]))
  const surplus: string[] = []
  for (const line of await side.world.lines()) {
    const own = byAddress.get(line.address)
    if (own === undefined) surplus.push(`a line of nobody: ${JSON.stringify(line)}`)
    else own.push(line)
  }
  const outside = side.recorder.take()
  const outcomes: Outcome[] = []
  const readsAhead = side.world.engine === 'http-proxy'
  for (const session of sessions) {
    const lines = byAddress.get(session.address) ?? []
    const first = problemsOf(session, lines, outside, false, readsAhead)
    const problems =
      first.length > 0 && (await session.blankBehind()) ? problemsOf(session, lines, outside, true, readsAhead) : first
    outcomes.push({ session, lines, problems })
  }
  const logged = new Set(outcomes.flatMap(({ lines }) => lines.map(({ requestId }) => requestId)))
  for (const id of outside.keys()) if (!logged.has(id)) surplus.push(`sent without a line: ${id}`)
  surplus.push(...side.recorder.anomalies.splice(0))
  return { outcomes, outside, surplus }
}

/** Checks one batch over the engine `wire`, and over `other` too if given: each input over a connection of its own there and here. */
export async function runBatch(wire: Side, other: Side | null, inputs: readonly Input[]): Promise<RunResult> {
  const mine = await judge(wire, inputs, other !== null)
  const findings: Finding[] = findingsOf('wire', mine, inputs)
  const decisions = new Map<Input, readonly Decision[]>()
  for (const { session, lines } of mine.outcomes) {
    const [input] = session.inputs
    if (input !== undefined && session.inputs.length === 1) decisions.set(input, decisionsOf(lines, mine.outside))
  }
  if (other !== null) {
    const theirs = await judge(other, inputs, true)
    findings.push(...findingsOf('http-proxy', theirs, inputs))
    for (const { session, lines } of theirs.outcomes) {
      const [input] = session.inputs
      const wireDecisions = input === undefined ? undefined : decisions.get(input)
      if (wireDecisions === undefined || session.ending === 'connect') continue
      const differs = difference(wireDecisions, decisionsOf(lines, theirs.outside), session.messages)
      if (differs !== null) findings.push({ engine: 'http-proxy', problems: [differs], inputs: session.inputs })
    }
  }
  return { findings, sent: mine.outside.size, decisions }
}

function findingsOf(
  engine: HttpEngine,
  { outcomes, surplus }: { readonly outcomes: readonly Outcome[]; readonly surplus: readonly string[] },
  inputs: readonly Input[],
): Finding[] {
  const findings = outcomes
    .filter(({ problems }) => problems.length > 0)
    .map(
      ({ problems, session, lines }): Finding => ({
        engine,
        problems: [...problems, `log: ${JSON.stringify(lines.map(({ code, details }) => [code, details]))}`],
        inputs: session.inputs,
      }),
    )
  // Whose it is, nobody knows: all of the batch is told.
  if (surplus.length > 0) findings.push({ engine, problems: surplus, inputs })
  return findings
}
