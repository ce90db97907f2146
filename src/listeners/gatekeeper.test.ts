/** A request that was answered, or has ended, while a gate was waiting for somebody goes nowhere any more. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Refusal } from '../core/refusal.ts'
import type { Gate } from '../runtime/gate.ts'
import type { HttpRequestAttributes } from '../runtime/judge.ts'
import { type Gated, Gatekeeper } from './gatekeeper.ts'

async function outcome(change: (exchange: { finished: boolean; downstream: { responded: boolean } }) => void) {
  const exchange = { finished: false, downstream: { body: null, responded: false }, http: {}, record: {} }
  const answer = Promise.withResolvers<Refusal | null>()
  const gate: Gate = { name: 'slow', admit: () => answer.promise }
  const told: (Refusal | null)[] = []
  const keeper = new Gatekeeper(exchange as unknown as Gated)
  keeper.before([gate], {} as HttpRequestAttributes, (refusal) => void told.push(refusal))
  change(exchange)
  answer.resolve(null)
  await new Promise((resolve) => setImmediate(resolve))
  return told
}

test('a gate that lets through too late is not heard', async () => {
  assert.deepEqual(await outcome(() => undefined), [null])
  assert.deepEqual(await outcome((exchange) => (exchange.downstream.responded = true)), [])
  assert.deepEqual(await outcome((exchange) => (exchange.finished = true)), [])
})
