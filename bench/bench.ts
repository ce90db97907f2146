/**
 * `npm run bench`: what Sallyport costs, next to the peers that this machine has (nginx, HAProxy), as Markdown tables.
 * Everything is started here: site, contenders, load. CPU time of the contender's processes, not elapsed time; rounds
 * are interleaved; ratios are those within a round. The method is described in docs/performance.md.
 *
 *     npm run bench                          all workloads
 *     npm run bench -- W1 W3 --rounds 3      some
 *
 * Exit code: 0; 1 when anything answered other than expected or a contender ended; 2 usage; 128 + n on signal n.
 */
import { spawnSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { constants, cpus } from 'node:os'
import { type Engine, NAMES } from './contenders/contender.ts'
import { engineProblem } from './contenders/sallyport.ts'
import { World } from './contenders/world.ts'
import { createCaller } from './load/caller.ts'
import { compileClientCertificate, findTools, INSTALL } from './load/tools.ts'
import { type Options, readOptions, USAGE, UsageError } from './measure/options.ts'
import { killAll, PINNED, pinSelf } from './measure/processes.ts'
import { inRounds } from './measure/rounds.ts'
import { markdownTable } from './measure/table.ts'
import type { Bench, Workload } from './workloads/bench.ts'
import { WORKLOADS } from './workloads/workloads.ts'

/** Progress goes beside the tables, so that these can be redirected to a file. */
const progress = (text: string) => void process.stderr.write(`${text}\n`)

async function main(argv: readonly string[]): Promise<number> {
  let options: Options | null
  try {
    options = readOptions(argv)
    const unknown = options?.workloads.find((name) => WORKLOADS[name] === undefined)
    if (unknown !== undefined) throw new UsageError(`no such workload: ${unknown}`)
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    process.stderr.write(`bench: ${error.message}\n${USAGE}\n`)
    return 2
  }
  if (options === null) {
    console.log(USAGE)
    return 0
  }
  pinSelf()
  const tools = findTools()
  const world = await World.create(tools.has('nginx'))
  endOnSignal(world)
  try {
    const engines = existing(world, options.engines)
    const baseline =
      options.baseline === null
        ? null
        : { checkout: options.baseline, engines: existing(world, options.engines, options.baseline) }
    const library = tools.has('cc') ? compileClientCertificate(world.dir) : null
    const bench: Bench = { world, caller: createCaller(world), tools, library, engines, options, baseline }
    console.log(heading(bench))
    let failures = 0
    const chosen = options.workloads.length === 0 ? Object.keys(WORKLOADS) : options.workloads
    for (const name of chosen)
      for (const workload of WORKLOADS[name] ?? []) if (!(await report(bench, name, workload))) failures++
    return failures === 0 ? 0 : 1
  } finally {
    await world.close()
  }
}

/** Of these engines those that a checkout (default: this one) has. @throws when it has none */
function existing(world: World, engines: readonly Engine[], checkout?: string): readonly Engine[] {
  const problems = engines.map((engine) => engineProblem(world, engine, checkout))
  const found = engines.filter((_, index) => problems[index] === null)
  if (found.length === 0) throw new Error(problems.join('\n'))
  for (const problem of problems) if (problem !== null) progress(problem)
  return found
}

/** Prints one table. False: it failed, which is printed in its place. */
async function report(bench: Bench, name: string, workload: Workload): Promise<boolean> {
  console.log(`\n### ${name}: ${workload.title}\n`)
  progress(`${name}: starting`)
  try {
    const prepared = await workload.prepare(bench)
    const { subjects, rounds, warmUp, notes } = prepared
    try {
      const samples = await inRounds(subjects, rounds, warmUp, (text) => progress(`${name} ${text}`))
      console.log(markdownTable(workload.columns, subjects, samples))
      console.log(`\n${[`${rounds} round${rounds === 1 ? '' : 's'}.`, ...notes].join(' ')}`)
    } finally {
      await prepared.stop()
    }
    return true
  } catch (error) {
    console.log(`FAILED: ${error instanceof Error ? error.message : String(error)}`)
    return false
  }
}

function heading({ tools, engines, options, world }: Bench): string {
  const absent = [
    ...options.engines
      .filter((engine) => !engines.includes(engine))
      .map((engine) => `${NAMES[engine]} (not in this checkout)`),
    ...(tools.has('haproxy') ? [] : [NAMES.haproxy]),
    ...(tools.has('nginx') ? [] : [NAMES.nginx]),
  ]
  const git = spawnSync('git', ['--no-optional-locks', 'describe', '--always', '--dirty'], {
    cwd: import.meta.dirname,
    encoding: 'utf8',
  })
  const lines = [
    `Commit ${git.status === 0 ? git.stdout.trim() : 'unknown'}, ${new Date().toISOString().slice(0, 10)}, Node ${process.versions.node} (OpenSSL ${process.versions.openssl}), ${cpus().length} × ${cpus()[0]?.model.trim() ?? 'unknown CPU'}`,
    `Others: ${tools.versions.join(' · ')}`,
    PINNED
      ? 'What is measured runs on the first core, load and site on the second.'
      : '**Nothing is pinned** (one core, or no taskset): figures are worth less.',
    `Site: ${world.siteName}. Slices of ${options.seconds} s. Ratio columns: median (lowest–highest; ½ middle half).`,
    absent.length === 0
      ? 'Absent: nothing.'
      : `Absent: ${absent.join(', ')}. To have all tools on Debian: \`${INSTALL}\``,
  ]
  return lines.map((line) => `- ${line}`).join('\n')
}

function endOnSignal(world: World): void {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(signal, () => {
      killAll()
      rmSync(world.dir, { recursive: true, force: true })
      process.exit(128 + constants.signals[signal])
    })
}

process.exitCode = await main(process.argv.slice(2))
