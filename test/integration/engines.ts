/**
 * Conformance: a test registered with this `test` runs once for each HTTP/1.1 engine, and what callers, sites and logs see
 * must be the same. Where it may legitimately differ, the difference stands in the table below and nowhere else.
 */
import { describe as nodeDescribe, test as nodeTest, type TestContext, type TestOptions } from 'node:test'
import type { HttpEngine } from '../../src/model/settings.ts'
import { ENGINES, engineUnderTest, withEngine } from '../../src/testing/engine.ts'

type Body = (t: TestContext) => void | Promise<void>

/** node:test's, for every engine. */
export function test(name: string, ...rest: readonly [Body] | readonly [TestOptions, Body]): void {
  for (const engine of ENGINES) {
    const body = (rest.length === 1 ? rest[0] : rest[1]) as Body
    const options = rest.length === 1 ? {} : rest[0]
    void nodeTest(`${name} (${engine})`, options, (t) => withEngine(engine, () => body(t)))
  }
}

/** node:test's, for every engine: what it registers runs with that engine. */
export function describe(name: string, suite: () => void): void {
  for (const engine of ENGINES) void nodeDescribe(`${name} (${engine})`, () => withEngine(engine, suite))
}

export type Differences = {
  /** What a parser calls the fault it found, in `response_code_details`. */
  readonly fault: RegExp
  /**
   * Node's parser reads every request that has been sent ahead; the wire engine reads one when the one before it is
   * answered, so that what was never read has no line (as with Envoy), and no limit on how many may wait is needed.
   */
  readonly readsAhead: boolean
  /** What `GET  /x` is answered. Node's parser takes several spaces for one; RFC 9112 §3 has a single one there. */
  readonly twoSpaces: 204 | 400
}

export const DIFFERENCES = {
  'http-proxy': { fault: /^HPE_[A-Z_]+$/, readsAhead: true, twoSpaces: 204 },
  wire: { fault: /^[A-Z]+(?:_[A-Z]+)+$/, readsAhead: false, twoSpaces: 400 },
} as const satisfies Record<HttpEngine, Differences>

/** Of the engine that the running test is for. */
export function differences(): Differences {
  return DIFFERENCES[engineUnderTest() ?? 'wire']
}
