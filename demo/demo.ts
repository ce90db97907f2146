/**
 * `npm run demo`: the gateway at work, on a machine that has only Node, npm and curl. No Internet needed.
 *
 * It makes a mesh CA and starts two sites that stand for the outside world (one plain HTTP, one HTTPS), then, for each of the
 * published walk-throughs under test/scenarios, a real gateway: `bin/sallyport run -f …` as a child process. Real curl, with
 * the workloads' certificates, asks; policies are added, changed and deleted while the gateway runs. Every step shows who asks
 * what, the curl command line, the answer, and the gateway's own access-log line. It compares each answer, each log line, and what
 * really arrived outside with what must come of it.
 *
 *     npm run demo              all steps, then a table of expected and actual
 *     npm run demo -- --keep    the same, then leaves all running and prints curl lines to try, until Ctrl-C
 *
 * Exit code: 0 when every row matches, 1 when one does not or something fails (no curl, for one), 2 usage, 128 + n when ended
 * by signal n (with --keep, Ctrl-C at the end is the way out, and the table decides). Everything lives in one temporary directory
 * and in child processes, and is removed and ended on the way out, whichever way that is.
 *
 * Files: `walkthroughs.ts` the steps as data (`steps.ts` its words), `tour.ts` does them, `world.ts` CA, sites and files,
 * `gateway-process.ts` the child, `curl.ts` the command lines, `printer.ts` the looks.
 */
import { constants } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { curlArguments, requireCurl, shellLine } from './curl.ts'
import { GatewayProcess } from './gateway-process.ts'
import { Printer, type Row } from './printer.ts'
import type { WalkThrough } from './steps.ts'
import { Tour } from './tour.ts'
import { WALK_THROUGHS } from './walkthroughs.ts'
import { World } from './world.ts'

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** Ends everything: the reason of the abort signal that all waiting listens to. */
class Interrupted extends Error {
  readonly exitCode: number
  constructor(why: string, exitCode: number) {
    super(why)
    this.exitCode = exitCode
  }
}

type Visit = { readonly walk: WalkThrough; readonly gateway: GatewayProcess; readonly tour: Tour }

async function main(argv: readonly string[]): Promise<number> {
  const keep = readOptions(argv)
  if (keep === null) return 2
  const interruption = new AbortController()
  for (const signal of SIGNALS)
    process.on(signal, () => interruption.abort(new Interrupted(signal, 128 + constants.signals[signal])))
  // `npm run demo | head`: nobody reads on.
  process.stdout.on('error', () => interruption.abort(new Interrupted('nobody reads the output', 1)))
  const print = new Printer(process.stdout)
  try {
    await requireCurl()
    return await demonstrate(keep, print, interruption.signal)
  } catch (error) {
    const { signal } = interruption
    if (signal.aborted && signal.reason instanceof Interrupted) return signal.reason.exitCode
    process.stderr.write(`demo: ${error instanceof Error ? error.message : String(error)}\n`)
    return 1
  }
}

function readOptions(argv: readonly string[]): boolean | null {
  try {
    const { values } = parseArgs({ args: [...argv], options: { keep: { type: 'boolean', default: false } } })
    return values.keep
  } catch (error) {
    process.stderr.write(`demo: ${error instanceof Error ? error.message : String(error)}\n`)
    process.stderr.write('usage: npm run demo [-- --keep]\n')
    return null
  }
}

async function demonstrate(keep: boolean, print: Printer, interrupted: AbortSignal): Promise<number> {
  const startedAt = performance.now()
  await using world = await World.create()
  await using gateways = new AsyncDisposableStack()
  const visits: Visit[] = []
  print.line(`A mesh CA and its certificates: ${world.dir}`)
  print.line(
    `The outside world: an HTTP site on port ${world.port('http')}, an HTTPS site on port ${world.port('https')}`,
  )
  const rows: Row[] = []
  for (const walk of WALK_THROUGHS) {
    print.heading(`=== ${walk.title} (test/scenarios/${walk.seed})`)
    const gateway = gateways.use(await GatewayProcess.start(await world.furnish(walk.seed, walk.files), interrupted))
    const tour = new Tour(world, gateway, walk, print, interrupted, rows.length + 1)
    visits.push({ walk, gateway, tour })
    print.line(
      `  sallyport run -f ${path.relative(world.dir, gateway.configFile)}: ready, ${gateway.warnings} warnings`,
    )
    rows.push(...(await tour.run()))
  }
  if (!keep) for (const visit of visits) rows.push(await farewell(visit))
  print.heading(`=== Expected and actual, after ${((performance.now() - startedAt) / 1000).toFixed(1)} s`)
  print.table(rows)
  const wrong = rows.filter(({ problems }) => problems.length > 0)
  for (const { title, problems } of wrong) print.line(print.paint('red', `${title}: ${problems.join('; ')}`))
  print.line()
  print.line(
    wrong.length === 0
      ? print.paint('green', `All ${rows.length} rows match.`)
      : print.paint('red', `${wrong.length} of ${rows.length} rows differ.`),
  )
  if (keep) await stay(visits, print, interrupted)
  return wrong.length === 0 ? 0 : 1
}

/** SIGTERM: a gateway without open connections ends at once, with 0, and has written one line per request. */
async function farewell({ walk, gateway, tour }: Visit): Promise<Row> {
  const code = await gateway.stop()
  const expected = `exit 0, ${tour.asked} requests, ${tour.asked} access-log lines`
  const actual = `exit ${code ?? 'by force'}, ${tour.asked} requests, ${gateway.accessLog.length} access-log lines`
  return {
    title: `SIGTERM to the gateway of ${walk.seed}`,
    expected,
    actual,
    problems: actual === expected ? [] : [`${actual}, expected ${expected}`],
  }
}

/** Leaves the gateways to the reader until Ctrl-C. @throws when one of them ends by itself */
async function stay(visits: readonly Visit[], print: Printer, interrupted: AbortSignal): Promise<void> {
  for (const { walk, gateway, tour } of visits) {
    await tour.change(walk.keepFiles)
    print.heading(`=== ${walk.title}`)
    print.line(
      `Edit ${path.join(path.dirname(gateway.configFile), 'resources')}: the gateway takes changes while it runs.`,
    )
    for (const step of walk.steps) {
      if (step.kind !== 'request' || step.keep !== true) continue
      print.line(print.paint('dim', `# ${step.title}`))
      print.line(shellLine(['curl', '-i', ...curlArguments(step, await tour.door(step))]))
    }
    gateway.relay((line) => print.line(print.paint('dim', line)))
  }
  print.heading('Running until Ctrl-C. What the gateways print appears here.')
  const stopped = Promise.withResolvers<void>()
  interrupted.addEventListener('abort', () => stopped.resolve(), { once: true })
  if (interrupted.aborted) stopped.resolve()
  const ended = visits.map(async ({ walk, gateway }) => {
    const code = await gateway.ended
    // Ctrl-C in a terminal reaches the gateways too, perhaps before us; theirs takes longer.
    if (!interrupted.aborted)
      throw new Error(`the gateway of ${walk.seed} ended by itself, exit code ${code ?? 'none'}`)
  })
  await Promise.race([stopped.promise, ...ended])
}

process.exitCode = await main(process.argv.slice(2))
