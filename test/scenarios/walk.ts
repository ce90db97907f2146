/** Runs a walk-through table with one caller: a gateway over the seed's YAML, the outside world, every row and its log line. */
import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import type { Harness, LogLine } from '../../src/testing/harness.ts'
import { createTestPki } from '../../src/testing/pki.ts'
import { stat } from '../integration/operator.ts'
import { expectedLine, lineProblems } from './expected-line.ts'
import { type Caller, contentOf, type Row, rowsOf, type Scenario, type Seen, type SiteName, wayKey } from './row.ts'
import { endWith, explainedOn, scenarioFile, startScenario } from './scenario.ts'
import { type Sites, startSites } from './sites.ts'

export type WalkOptions = {
  /** Ask `sallyport explain` about every row too: it must say what the gateway did. */
  readonly explain?: boolean
}

/** @returns the access log, one line for each row that the caller speaks */
export async function walk(
  t: TestContext,
  scenario: Scenario,
  caller: Caller,
  { explain = false }: WalkOptions = {},
): Promise<LogLine[]> {
  const pki = await createTestPki()
  const sites = await startSites(scenario)
  t.after(() => sites.close())
  const edit = (text: string) => (scenario.edit?.(text) ?? text).replace('DNS_SERVER', sites.dns?.address ?? '')
  const harness = endWith(t, await startScenario(scenario.seed, scenario.files, sites, pki, edit))

  const spoken = rowsOf(scenario).filter((row) => caller.unspoken[row.hop] === undefined && mayRun(row, sites))
  const ways = [...new Map(spoken.map((row) => [wayKey(row), row])).values()]
  const speak = await caller.start({ t, harness, siteCa: sites.root, ways })

  let count = 0
  for (const step of scenario.steps)
    await t.test(step.name, async (sub) => {
      if (step.apply !== undefined) await apply(harness, scenario, step.apply, sites)
      for (const written of step.rows) {
        const row = { ...written, host: written.host.replace('PORT_HTTP', `${sites.httpPort}`) }
        if (!mayRun(written, sites)) sub.diagnostic(`${row.name}: not run, port 443 is not ours to listen on`)
        if (!spoken.includes(written)) continue
        await tryRow({ harness, sites, caller }, row, ++count, () => speak(row))
        if (explain) await assertExplained(harness, row)
      }
    })
  const lines = await harness.lines(count)
  if (scenario.counter !== undefined) {
    const reached = spoken.filter(({ reaches }) => reaches === 'secure').length
    assert.equal((await stat(harness, scenario.counter)) ?? 0, reached, scenario.counter)
  }
  await harness.stop(count)
  return lines
}

type Walk = { readonly harness: Harness; readonly sites: Sites; readonly caller: Caller }

function mayRun({ reaches }: Row, sites: Sites): boolean {
  return reaches === null || sites.all.has(reaches)
}

async function apply(
  harness: Harness,
  { seed }: Scenario,
  files: Readonly<Record<string, string | null>>,
  sites: Sites,
): Promise<void> {
  const texts = Object.entries(files).map(([name, file]) => [
    name,
    file === null ? null : scenarioFile(seed, file, sites, harness.paths.caFile),
  ])
  assert.deepEqual((await harness.change(Object.fromEntries(texts))).errors, [])
}

/** Sends one row: what the caller sees, line number `count` of the log, and what was dialled. */
async function tryRow(
  { harness, sites, caller }: Walk,
  row: Row,
  count: number,
  send: () => Promise<Seen>,
): Promise<void> {
  const before = reached(sites)
  const startedAt = performance.now()
  const seen = await send()
  const seconds = (performance.now() - startedAt) / 1000
  const lines = await harness.lines(count)
  assert.equal(lines.length, count, `${row.name}: one line each`)
  const line = lines[count - 1] ?? {}
  const where = `${row.name}: ${JSON.stringify(line)}`
  assertSeen(row, seen, seconds, where)
  const upstream = row.reaches === null ? null : (sites.all.get(row.reaches)?.address ?? null)
  assert.deepEqual(lineProblems(line, expectedLine(row, caller, upstream)), [], where)
  if (seen.kind === 'answer') assertBytes(row, line, seen.body.length)
  assertReached(row, before, reached(sites))
}

/** The bytes of a request's answer, or those of a tunnel: more than what the two sides said inside it. */
function assertBytes({ name, hop, request }: Row, line: LogLine, length: number): void {
  const [received, sent] = [Number(line['bytes_received']), Number(line['bytes_sent'])]
  if (contentOf(hop) === 'tls') assert.ok(received > 200 && sent > length + 500, `${name}: ${received} in, ${sent} out`)
  else if (request?.method !== 'HEAD') assert.equal(sent, length, name)
}

function assertSeen({ name, gets, line }: Row, seen: Seen, seconds: number, where: string): void {
  if (gets === 'anything') return
  if (seen.kind !== 'answer' || typeof gets === 'string')
    return assert.equal(seen.kind, typeof gets === 'string' ? gets : 'answer', where)
  const { status, headers, body } = seen
  assert.equal(status, gets.status, where)
  assert.equal(
    headers['x-sallyport-reason'],
    line?.['reason'] ?? undefined,
    `${name}: the reason says so, or there is none`,
  )
  if (gets.body !== undefined) assert.equal(body, gets.body, name)
  if (gets.length !== undefined) assert.equal(body.length, gets.length, name)
  for (const [field, value] of Object.entries(gets.headers ?? {})) {
    if (typeof value === 'string') assert.equal(headers[field], value, name)
    else assert.match(String(headers[field]), value, name)
  }
  assert.ok(seconds >= (gets.seconds ?? 0), `${name}: after ${seconds} s`)
  if (gets.url === undefined && headers['content-type'] !== 'application/json') return
  const echo = JSON.parse(body) as { url?: string; headers?: Record<string, string> }
  assert.equal(echo.url, gets.url, name)
  for (const [field, value] of Object.entries(gets.echo ?? {})) assert.equal(echo.headers?.[field], value, name)
  // Istio lets X-Envoy-Decorator-Operation out, which page 004 shows; we do not (behaviour §7.4).
  const leaks = Object.keys(echo.headers ?? {}).filter((field) => /^x-(envoy|forwarded)/i.test(field))
  assert.deepEqual(leaks, [], `${name}: nothing of the mesh is seen outside`)
}

type Reached = ReadonlyMap<SiteName, { readonly connections: number; readonly requests: number }>

function reached({ all }: Sites): Reached {
  return new Map([...all].map(([name, site]) => [name, site.reached()]))
}

/** A request may come on a connection that was there; whatever else comes is one connection. */
function assertReached(row: Row, before: Reached, now: Reached): void {
  const unit = contentOf(row.hop) === 'http' ? 'requests' : 'connections'
  for (const [site, counts] of now) {
    const was = before.get(site)
    if (site !== row.reaches) assert.deepEqual(counts, was, `${row.name}: ${site} is not to be reached`)
    else assert.equal(counts[unit], (was?.[unit] ?? 0) + 1, `${row.name}: ${site} is to be reached once`)
  }
}

/** What `explain` is not asked: it resolves no names, and its callers show a certificate and speak what the port speaks. */
const NOT_EXPLAINED: ReadonlySet<unknown> = new Set([
  'no_client_certificate',
  'protocol_mismatch',
  'no_sni',
  'address_denied',
])

/** `sallyport explain` comes to the same decision from the configuration alone. */
async function assertExplained(harness: Harness, row: Row): Promise<void> {
  const { name, from, port, hop, sni, host, request, reaches, line } = row
  const reason = line?.['reason'] ?? null
  if (contentOf(hop) === 'bytes' || row.gets === 'another certificate' || NOT_EXPLAINED.has(reason)) return
  const what =
    contentOf(hop) === 'tls' ? [`tls://${host}`] : [request?.method ?? 'GET', `http://${host}${request?.path ?? '/'}`]
  const { code, result } = await explainedOn(harness, port, from, [
    ...(sni === undefined ? [] : ['--sni', sni]),
    ...what,
  ])
  assert.deepEqual([code, result.reason], [reaches === null ? 1 : 0, reason], `${name}: explain: ${result.conclusion}`)
  if (reaches !== null && line?.['upstream_cluster'] !== undefined)
    assert.equal(result.cluster, line['upstream_cluster'], `${name}: explain`)
  if (reason === 'rbac_denied')
    assert.match(result.decidedBy ?? '', /^ns\[.+\]-policy\[.+\]-rule\[\d+\] at .*\.yaml:\d+:\d+$/)
}
