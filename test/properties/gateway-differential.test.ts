/**
 * Differential fuzzing through whole gateways (test/fuzz): bytes of callers and of sites, over both engines, against what
 * Node's strict parser reads in them. The corpus first, then a fixed seed, then one that is printed.
 * By hand, as many as one likes: `bin/sallyport-node test/fuzz/gateway.ts --cases 100000`.
 */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { inputOf, type RequestRow, type ResponseRow, readCorpus, wordsOf } from '../fuzz/corpus.ts'
import type { Input } from '../fuzz/input.ts'
import { Random } from '../fuzz/random.ts'
import { abandonSide, runBatch, type Side, startSide, stopSide } from '../fuzz/request-run.ts'
import { requestInput } from '../fuzz/requests.ts'
import {
  abandonResponseSide,
  type ResponseSide,
  responseDifference,
  runResponses,
  startResponseSide,
  stopResponseSide,
} from '../fuzz/response-run.ts'
import { type ResponseInput, responseInput } from '../fuzz/responses.ts'

const FIXED_SEED = 20_261_122
const CASES = 400
/** How long new cases are tried for, milliseconds: most of it where nobody waits. */
const BUDGET_MS = process.env['CI'] === 'true' ? 10_000 : 1_000

/** One line for each, with everything needed to see it again. */
function told(input: Input | null, problems: readonly string[]): string {
  return input === null
    ? problems.join('; ')
    : `${JSON.stringify(input.bytes.toString('latin1'))} cut at [${input.cuts.join()}]: ${problems.join('; ')}`
}

async function bothSides(t: TestContext): Promise<readonly [Side, Side]> {
  const sides = [await startSide('wire'), await startSide('http-proxy')] as const
  t.after(() => Promise.all(sides.map(abandonSide)))
  return sides
}

async function agree(sides: readonly [Side, Side], inputs: readonly Input[]) {
  const { findings, sent, decisions } = await runBatch(sides[0], sides[1], inputs)
  const found = findings.flatMap(({ engine, problems, inputs: guilty }) =>
    guilty.map((input) => `${engine}: ${told(input, problems)}`),
  )
  assert.deepEqual(found, [])
  return { sent, decisions }
}

/** Calls `batch` with one seed for a fixed number of cases, and with another until the time is up. */
async function explore(t: TestContext, batch: (random: Random, count: number) => Promise<void>): Promise<void> {
  await batch(new Random(FIXED_SEED), CASES)
  const seed = Math.floor(Math.random() * 2 ** 32)
  t.diagnostic(`seed ${seed}`)
  const random = new Random(seed)
  const deadline = performance.now() + BUDGET_MS
  let count = 0
  for (; performance.now() < deadline; count += CASES) await batch(random, CASES)
  t.diagnostic(`${count + CASES} cases`)
}

test('requests of the corpus: the same decisions as ever, and the outside gets what Node reads', async (t) => {
  const sides = await bothSides(t)
  const rows = readCorpus<RequestRow>('requests')
  const inputs = rows.map(inputOf)
  const { decisions } = await agree(sides, inputs)
  assert.deepEqual(
    inputs.map((input) => wordsOf(decisions.get(input) ?? [])),
    rows.map((row) => row.decisions),
  )
  for (const side of sides) await stopSide(side)
})

test('requests of all kinds: whatever goes out is what Node reads, one line each, over both engines', async (t) => {
  const sides = await bothSides(t)
  await explore(t, async (random, count) => {
    const inputs = Array.from({ length: count }, () => requestInput(random))
    const { sent } = await agree(sides, inputs)
    // A generator whose requests are all refused would prove nothing.
    assert.ok(sent > count / 10, `${sent} requests sent of ${count} inputs`)
  })
  for (const side of sides) await stopSide(side)
})

async function bothResponseSides(t: TestContext): Promise<readonly [ResponseSide, ResponseSide]> {
  const sides = [await startResponseSide('wire'), await startResponseSide('http-proxy')] as const
  t.after(() => Promise.all(sides.map(abandonResponseSide)))
  return sides
}

async function answersAgree(sides: readonly [ResponseSide, ResponseSide], inputs: readonly ResponseInput[]) {
  const [wire, other] = [await runResponses(sides[0], inputs), await runResponses(sides[1], inputs)]
  const found = [...wire.findings, ...other.findings].map(
    ({ engine, problems, input }) => `${engine}: ${told(input, problems)}`,
  )
  for (const [input, seen] of wire.seen) {
    const its = other.seen.get(input)
    const difference = its === undefined ? 'seen by nobody' : responseDifference(input, seen, its)
    if (difference !== null) found.push(told(input, [difference]))
  }
  assert.deepEqual(found, [])
  return wire.seen
}

test('answers of the corpus: the caller sees what it always saw', async (t) => {
  const sides = await bothResponseSides(t)
  const rows = readCorpus<ResponseRow>('responses')
  const inputs = rows.map((row): ResponseInput => ({ ...inputOf(row), method: row.method, end: row.end }))
  const seen = await answersAgree(sides, inputs)
  assert.deepEqual(
    inputs.map((input) => {
      const each = seen.get(input)
      return `${each?.kind} ${each?.line?.code} ${each?.line?.details}`
    }),
    rows.map((row) => row.seen),
  )
  for (const side of sides) await stopResponseSide(side)
})

test('answers of all kinds: the caller gets the one that Node reads, or an error, or a cut, and never two', async (t) => {
  const sides = await bothResponseSides(t)
  await explore(t, async (random, count) => {
    const inputs = Array.from({ length: count }, () => responseInput(random))
    const seen = await answersAgree(sides, inputs)
    const whole = [...seen.values()].filter(({ kind }) => kind === 'whole').length
    assert.ok(whole > count / 10, `${whole} whole answers of ${count}`)
  })
  for (const side of sides) await stopResponseSide(side)
})
