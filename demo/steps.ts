/** The words in which walkthroughs.ts says what is asked and what must come of it. */
import type { Site } from './world.ts'

/** Fields of the access log that must have exactly these values. */
export type LogExpectation = Readonly<Record<string, string | number | null>>

export type RequestStep = {
  readonly kind: 'request'
  readonly title: string
  /** `NAMESPACE/ACCOUNT`; null: without a client certificate. */
  readonly caller: string | null
  readonly method: 'GET' | 'POST' | 'HEAD'
  readonly host: string
  readonly path: string
  /** Further options of curl. */
  readonly options?: readonly string[]
  /** As `answerOf` puts it: status, then the reason, the echoed url, or the body. */
  readonly answer: string
  /** The site it must reach; null: nothing may arrive outside. */
  readonly reaches: Site | null
  readonly log: LogExpectation
  /** Worth trying by hand with --keep. */
  readonly keep?: true
}

/** Files are changed while the gateway runs; the next step waits until it has taken them. */
export type ChangeStep = {
  readonly kind: 'change'
  readonly title: string
  /** Resource file → the walk-through's file it becomes; null: deleted. */
  readonly files: Readonly<Record<string, string | null>>
}

export type ExplainStep = {
  readonly kind: 'explain'
  readonly title: string
  readonly caller: string
  readonly method: string
  readonly url: string
  /** Exit code, conclusion, file and line of the rule that decided. */
  readonly answer: string
  /** Name of that rule: what the access log calls `authz_policy`. */
  readonly rule: string
}

export type Step = RequestStep | ChangeStep | ExplainStep

export type WalkThrough = {
  /** Folder below test/scenarios. */
  readonly seed: string
  readonly title: string
  /** Callers come over mTLS, or (as on one page) in plaintext. */
  readonly mtls: boolean
  /** Resource files that are there from the start. */
  readonly files: readonly string[]
  /** Those of them worth reading before the first step. */
  readonly show: readonly string[]
  readonly steps: readonly Step[]
  /** What --keep puts in place before it leaves the gateway to the reader. */
  readonly keepFiles: Readonly<Record<string, string | null>>
}
