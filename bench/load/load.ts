/** What a load generator is: it asks one contender for some seconds and says what came of it. */
import type { Expected } from './exchange.ts'

export type LoadResult = {
  readonly requests: number
  readonly seconds: number
  /** Milliseconds; null: this generator does not know. */
  readonly p50: number | null
  readonly p99: number | null
}

/** 64 keep-alive connections of HTTP/1.1, or 4 of HTTP/2 with 25 streams each. */
export type Load = {
  /** @throws when any answer is other than expected */
  run(port: number, expected: Expected, seconds: number): Promise<LoadResult>
}

export const H1_CONNECTIONS = 64
export const H2_CONNECTIONS = 4
export const H2_STREAMS = 25
