/**
 * By hand: `bin/sallyport-node test/fuzz/gateway.ts [--kind requests|responses] [--cases N] [--seed S] [--engines wire|both]
 * [--corpus]`; exit 1 for a finding. `--corpus` keeps the inputs with which something new came about.
 */
import { parseArgs } from 'node:util'
import { type RequestRow, type ResponseRow, readCorpus, wordsOf, writeCorpus } from './corpus.ts'
import type { Input } from './input.ts'
import { Random } from './random.ts'
import { runBatch, type Side, startSide, stopSide } from './request-run.ts'
import { requestInput } from './requests.ts'
import {
  type ResponseSide,
  responseDifference,
  runResponses,
  type Seen,
  startResponseSide,
  stopResponseSide,
} from './response-run.ts'
import { type ResponseInput, responseInput } from './responses.ts'

const { values } = parseArgs({
  options: {
    kind: { type: 'string', default: 'requests' },
    cases: { type: 'string', default: '10000' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000_000) },
    engines: { type: 'string', default: 'both' },
    corpus: { type: 'boolean', default: false },
  },
})
const BATCH = 1000
/** Then gateways end, cleanly, and new ones begin. */
const BATCHES_PER_GATEWAY = 50
const MAX_FINDINGS = 20

const out = (text: string): void => void process.stdout.write(`${text}\n`)

type Told = { readonly engine: string; readonly problems: readonly string[]; readonly inputs: readonly Input[] }

function tell({ engine, problems, inputs }: Told): void {
  out(`FOUND (${engine})\n   ${problems.slice(0, 5).join('\n   ')}`)
  for (const { bytes, cuts, ...more } of inputs.slice(0, 8)) {
    const behind = Object.keys(more).length === 0 ? '' : ` ${JSON.stringify(more)}`
    out(`   ${JSON.stringify(bytes.toString('latin1'))} cut at ${cuts.join() || 'nowhere'}${behind}`)
  }
}

/** Runs one batch; answers what was found, and how many requests were carried. */
type Runner = {
  run(random: Random, count: number): Promise<{ readonly findings: readonly Told[]; readonly carried: number }>
  stop(): Promise<void>
}

/** Shortest input for each signature. */
const kept = new Map<string, RequestRow | ResponseRow>()

function keep(signature: string, row: RequestRow | ResponseRow): void {
  const before = kept.get(signature)
  if (before === undefined || before.bytes.length > row.bytes.length) kept.set(signature, row)
}

async function requestRunner(both: boolean): Promise<Runner> {
  const wire: Side = await startSide('wire')
  const other = both ? await startSide('http-proxy') : null
  return {
    run: async (random, count) => {
      const inputs = Array.from({ length: count }, () => requestInput(random))
      const { findings, sent, decisions } = await runBatch(wire, other, inputs)
      for (const [{ bytes, cuts }, each] of decisions) {
        const words = wordsOf(each)
        if (words.length <= 2) keep(words.join(), { bytes: bytes.toString('latin1'), cuts, decisions: words })
      }
      return { findings, carried: sent }
    },
    stop: async () => {
      await stopSide(wire)
      if (other !== null) await stopSide(other)
    },
  }
}

async function responseRunner(both: boolean): Promise<Runner> {
  const wire: ResponseSide = await startResponseSide('wire')
  const other = both ? await startResponseSide('http-proxy') : null
  return {
    run: async (random, count) => {
      const inputs = Array.from({ length: count }, () => responseInput(random))
      const results = [await runResponses(wire, inputs), ...(other === null ? [] : [await runResponses(other, inputs)])]
      const findings: Told[] = results.flatMap(({ findings: found }) =>
        found.map(({ engine, problems, input }) => ({ engine, problems, inputs: input === null ? [] : [input] })),
      )
      const [mine, theirs] = results
      for (const [input, seen] of mine?.seen ?? []) {
        keepResponse(input, seen)
        const its = theirs?.seen.get(input)
        const differs = its === undefined ? null : responseDifference(input, seen, its)
        if (differs !== null) findings.push({ engine: 'http-proxy', problems: [differs], inputs: [input] })
      }
      return { findings, carried: [...(mine?.seen.values() ?? [])].filter(({ kind }) => kind === 'whole').length }
    },
    stop: async () => {
      await stopResponseSide(wire)
      if (other !== null) await stopResponseSide(other)
    },
  }
}

function keepResponse({ bytes, cuts, method, end }: ResponseInput, { kind, line }: Seen): void {
  const seen = `${kind} ${line?.code} ${line?.details}`
  if (end !== 'reset') keep(`${method} ${seen}`, { bytes: bytes.toString('latin1'), cuts, method, end, seen })
}

async function run(kind: 'requests' | 'responses', total: number, seed: number, both: boolean): Promise<number> {
  const random = new Random(seed)
  const started = performance.now()
  out(`${kind}, seed ${seed}, ${total} cases`)
  let [done, carried, found, batches] = [0, 0, 0, 0]
  let runner: Runner | null = null
  while (done < total && found < MAX_FINDINGS) {
    runner ??= await (kind === 'requests' ? requestRunner(both) : responseRunner(both))
    const count = Math.min(BATCH, total - done)
    const result = await runner.run(random, count)
    result.findings.forEach(tell)
    done += count
    carried += result.carried
    found += result.findings.length
    batches++
    const seconds = (performance.now() - started) / 1000
    if (batches % 10 === 0 || done === total)
      out(`${done} cases, ${carried} carried, ${found} findings, ${(done / seconds).toFixed(0)} cases/s`)
    if (batches % BATCHES_PER_GATEWAY !== 0 && done < total) continue
    await runner.stop()
    runner = null
  }
  return found
}

const kind = values.kind === 'responses' ? 'responses' : 'requests'
const found = await run(kind, Number(values.cases), Number(values.seed), values.engines === 'both')
if (values.corpus) {
  const known = readCorpus<RequestRow | ResponseRow>(kind)
  const signature = (row: RequestRow | ResponseRow): string =>
    'seen' in row ? `${row.method} ${row.seen}` : row.decisions.join()
  const signatures = new Set(known.map(signature))
  const fresh = [...kept].filter(([each]) => !signatures.has(each)).map(([, row]) => row)
  writeCorpus(kind, [...known, ...fresh])
  out(`${fresh.length} new in the corpus`)
}
process.exit(found === 0 ? 0 : 1)
