/** Which HTTP/1.1 engine a test's gateways run with, where the test does not say: tests are run once for each. */
import { AsyncLocalStorage } from 'node:async_hooks'
import type { HttpEngine } from '../model/settings.ts'

export const ENGINES = ['http-proxy', 'wire'] as const satisfies readonly HttpEngine[]

const underTest = new AsyncLocalStorage<HttpEngine>()

/** Runs `work`, and everything it starts, with this engine. */
export function withEngine<T>(engine: HttpEngine, work: () => T): T {
  return underTest.run(engine, work)
}

/** The engine under test; else what SALLYPORT_TEST_ENGINE names; null: the gateway's default. @throws for an unknown one */
export function engineUnderTest(): HttpEngine | null {
  const named = process.env['SALLYPORT_TEST_ENGINE'] ?? ''
  const engine = underTest.getStore() ?? ENGINES.find((each) => each === named) ?? null
  if (engine === null && named !== '') throw new Error(`SALLYPORT_TEST_ENGINE: no engine ${named}`)
  return engine
}
