/** One limit that a request or tunnel falls under, and where it is counted. */
import type { LimitModel } from '../../model/limits.ts'
import type { LimitMatcher } from '../../policy/limits.ts'
import type { Answer, LimitStore, Verdict } from './store.ts'

/** A limit, compiled with its snapshot. */
export type CompiledLimit = LimitMatcher & {
  readonly model: LimitModel
  /** null: it is counted in this process. */
  readonly shared: LimitStore | null
  /** Its item of RateLimit-Policy. */
  readonly policyField: string
}

export type Hit = {
  readonly limit: CompiledLimit
  readonly key: string
  /** Of what is open at a time: who holds it. '' otherwise. */
  readonly holder: string
  /** Counted in this process: local, or its store could not be asked and that is what holds then. */
  here: boolean
  /** null: not asked yet, or it could not be. */
  verdict: Verdict | null
}

/** What a request costs before it is let through. Bytes are charged when they have flowed: then, that some are left. */
export function costOf({ unit }: LimitModel): number {
  return unit === 'bytes' ? 0 : 1
}

/** Takes what it costs. */
export function take(store: LimitStore, { limit: { model }, key, holder }: Hit): Answer {
  return model.unit === 'tunnels' ? store.hold(model, key, holder) : store.take(model, key, costOf(model))
}
