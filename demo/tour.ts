/** Walks one walk-through against a running gateway: does each step, shows it, and compares with what was expected. */
import { execFile } from 'node:child_process'
import path from 'node:path'
import { type CurlAnswer, curl, type Door, shellLine, shortCommand, shortName } from './curl.ts'
import { type AccessLine, type GatewayProcess, SALLYPORT } from './gateway-process.ts'
import type { Printer, Row } from './printer.ts'
import type { ChangeStep, ExplainStep, RequestStep, Step, WalkThrough } from './steps.ts'
import { GATEWAY_NAME, type World } from './world.ts'

/** The fields of the access log shown beside the whole line, in this order; those that are null are left out. */
const SHOWN_FIELDS = [
  'response_code',
  'method',
  'authority',
  'path',
  'protocol',
  'downstream_peer_uri_san',
  'upstream_cluster',
  'upstream_host',
  'authz_decision',
  'authz_policy',
  'reason',
] as const

export class Tour {
  readonly #world: World
  readonly #gateway: GatewayProcess
  readonly #walk: WalkThrough
  readonly #print: Printer
  readonly #interrupted: AbortSignal
  readonly #firstRow: number
  #asked = 0

  /** @param firstRow number of the first step in the table at the end */
  constructor(
    world: World,
    gateway: GatewayProcess,
    walk: WalkThrough,
    print: Printer,
    interrupted: AbortSignal,
    firstRow: number,
  ) {
    this.#firstRow = firstRow
    this.#world = world
    this.#gateway = gateway
    this.#walk = walk
    this.#print = print
    this.#interrupted = interrupted
  }

  /** Requests sent so far: as many lines the access log must have. */
  get asked(): number {
    return this.#asked
  }

  /** Does every step. Resolves to a row per request and question. @throws when the gateway ends or stops answering */
  async run(): Promise<Row[]> {
    await this.#introduce()
    const rows: Row[] = []
    for (const step of this.#walk.steps) {
      const isRow = step.kind !== 'change'
      this.#print.heading(`${isRow ? `${this.#firstRow + rows.length}.` : '+'} ${step.title}`)
      const row = await this.#do(step)
      if (row === null) continue
      this.#print.verdict(row)
      rows.push(row)
    }
    return rows
  }

  /** How a caller reaches this gateway. */
  async door(step: RequestStep): Promise<Door> {
    const identity = step.caller === null ? null : await this.#world.identity(step.caller)
    return { mtls: this.#walk.mtls, port: this.#gateway.port(80), identity, meshCa: this.#world.meshCa }
  }

  /** Puts files in place and waits until the gateway has taken them. */
  async change(files: ChangeStep['files']): Promise<void> {
    if (Object.keys(files).length === 0) return
    this.#world.change(this.#walk.seed, files)
    await this.#gateway.reloaded()
  }

  async #introduce(): Promise<void> {
    const dim = (text: string) => this.#print.line(this.#print.paint('dim', text))
    const port = this.#gateway.port(80)
    const within = (file: string) => path.relative(this.#world.dir, file)
    dim(
      this.#walk.mtls
        ? `  $gate = --cacert ${within(this.#world.meshCa)} --connect-to ${GATEWAY_NAME}:80:127.0.0.1:${port}`
        : `  $gate = --connect-to HOST:80:127.0.0.1:${port}`,
    )
    const callers = this.#walk.steps.flatMap((step) => (step.kind === 'request' ? (step.caller ?? []) : []))
    for (const caller of new Set(callers)) {
      const dir = within(await this.#world.identity(caller))
      dim(`  ${shortName(caller)} = --cert ${dir}/cert-chain.pem --key ${dir}/key.pem`)
    }
    for (const file of this.#walk.show) this.#showFile(file, file)
  }

  /** A resource file without its comments. */
  #showFile(name: string, source: string): void {
    this.#print.detail('file', `resources/${name}`)
    const lines = this.#world.source(this.#walk.seed, source).split('\n')
    const yaml = lines.map((line) => line.replace(/(^|\s+)#.*$/, '')).filter((line) => line !== '')
    this.#print.detail('', yaml.join('\n'), 'dim')
  }

  async #do(step: Step): Promise<Row | null> {
    if (step.kind === 'request') return this.#request(step)
    if (step.kind === 'explain') return this.#explain(step)
    for (const [file, source] of Object.entries(step.files)) {
      if (source === null) this.#print.detail('file', `resources/${file} deleted`)
      else this.#showFile(file, source)
    }
    await this.change(step.files)
    this.#print.detail('', 'taken by the running gateway')
    return null
  }

  async #request(step: RequestStep): Promise<Row> {
    const print = this.#print
    const door = await this.door(step)
    print.detail('who', describeCaller(step.caller, this.#walk.mtls))
    print.detail('asks', `${step.method} http://${step.host}${step.path}`)
    print.detail('$', shortCommand(step, door), 'cyan')
    const before = this.#world.arrivals
    const answer = await curl(step, door, this.#interrupted)
    const line = await this.#gateway.accessLine(this.#asked)
    this.#asked++
    for (const text of describeAnswer(answer)) print.detail('got', text)
    const shown = SHOWN_FIELDS.filter((name) => (line.fields[name] ?? null) !== null)
    print.detail('log', shown.map((name) => `${name}=${String(line.fields[name])}`).join(' '))
    print.detail('', line.text, 'dim')
    const arrived = newOnes(before, this.#world.arrivals)
    const actual = answerOf(answer, line)
    return {
      title: step.title,
      expected: step.answer,
      actual,
      problems: [
        ...differences('answer', actual, step.answer),
        ...differences(
          'arrived outside',
          arrived.join(', '),
          step.reaches === null ? '' : `${step.reaches} ${step.method} ${step.path}`,
        ),
        ...this.#logProblems(step, answer, line),
      ],
    }
  }

  /** What the line must say, whatever the step: who asked, for what, with which result, and that it is the only line. */
  #logProblems(step: RequestStep, answer: CurlAnswer, line: AccessLine): string[] {
    const id = step.caller === null ? null : `spiffe://cluster.local/ns/${step.caller.replace('/', '/sa/')}`
    const request =
      answer.status === null ? {} : { method: step.method, authority: step.host, path: step.path, response_flags: '-' }
    const expected = {
      ...request,
      response_code: answer.status ?? 0,
      downstream_peer_uri_san: id,
      source_namespace: step.caller?.split('/')[0] ?? null,
      ...step.log,
    }
    const fields = Object.entries(expected).flatMap(([name, value]) =>
      differences(`access log ${name}`, JSON.stringify(line.fields[name]), JSON.stringify(value)),
    )
    const { length } = this.#gateway.accessLog
    return [...fields, ...differences('access-log lines so far', String(length), String(this.#asked))]
  }

  async #explain(step: ExplainStep): Promise<Row> {
    const from = `spiffe://cluster.local/ns/${step.caller.replace('/', '/sa/')}`
    const words = ['explain', '-f', 'gateway.yaml', '--from', from, step.method, step.url]
    this.#print.detail('$', shellLine(['sallyport', ...words]), 'cyan')
    const { exitCode, stdout } = await runSallyport(words, path.dirname(this.#gateway.configFile), this.#interrupted)
    this.#print.detail('got', stdout.trimEnd())
    const refusal = /→ refused: (\S+ \S+)/.exec(stdout)?.[1] ?? 'not refused'
    // The column is left out: it says no more than the line does.
    const decided = /decided by: (\S+) at (\S+):\d+$/m.exec(stdout)
    const actual = `exit ${exitCode}, ${refusal}, ${decided?.[2] ?? 'no rule'}`
    const problems = [
      ...differences('answer', actual, step.answer),
      ...differences('rule', decided?.[1] ?? '', step.rule),
    ]
    return { title: step.title, expected: step.answer, actual, problems }
  }
}

function describeCaller(caller: string | null, mtls: boolean): string {
  if (caller === null) return mtls ? 'a caller without a certificate' : 'any workload (plaintext: no identity)'
  const [namespace, account] = caller.split('/')
  return `service account ${account} of namespace ${namespace}`
}

function describeAnswer({ status, headers, body, exitCode, stderr }: CurlAnswer): string[] {
  if (status === null) return [`no answer; curl exits ${exitCode}: ${stderr}`]
  const reason = headers.get('x-sallyport-reason')
  const first = echoedUrl(body) === null ? body.split('\n', 1)[0] : `body echoes "url": "${echoedUrl(body)}"`
  return [`${status}${reason === undefined ? '' : `  x-sallyport-reason: ${reason}`}  ${first || '(no body)'}`]
}

/** One line for the table: status or `closed`, then the reason, the url that the site saw, or the body. */
function answerOf(answer: CurlAnswer, line: AccessLine): string {
  if (answer.status === null) return `closed ${String(line.fields['reason'])}`
  const url = echoedUrl(answer.body)
  const reason = answer.headers.get('x-sallyport-reason') ?? ''
  const body = url === null && answer.body !== '' ? JSON.stringify(answer.body.split('\n', 1)[0]) : ''
  return [answer.status, reason, url ?? '', body].filter((part) => part !== '').join(' ')
}

/** The `url` of an echoing site's answer: scheme and target as they arrived there. */
function echoedUrl(body: string): string | null {
  if (!body.startsWith('{')) return null
  const { url } = JSON.parse(body) as { readonly url?: unknown }
  return typeof url === 'string' ? url : null
}

/** Arrivals are grouped by site, each group only ever grows. */
function newOnes(before: readonly string[], after: readonly string[]): string[] {
  const rest = [...after]
  for (const known of before) rest.splice(rest.indexOf(known), 1)
  return rest
}

function differences(what: string, actual: string, expected: string): string[] {
  return actual === expected ? [] : [`${what}: ${actual || 'nothing'}, expected ${expected || 'nothing'}`]
}

async function runSallyport(
  words: readonly string[],
  cwd: string,
  signal: AbortSignal,
): Promise<{ readonly exitCode: number; readonly stdout: string }> {
  return new Promise((resolve, reject) => {
    execFile(SALLYPORT, words, { cwd, signal }, (error, stdout, stderr) => {
      if (error === null) resolve({ exitCode: 0, stdout })
      else if (typeof error.code === 'number') resolve({ exitCode: error.code, stdout: stdout + stderr })
      else reject(error)
    })
  })
}
