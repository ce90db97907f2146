/** A request that has been let through, and by what. */
import type { HttpRequestAttributes, Judgement } from '../runtime/judge.ts'
import type { Snapshot } from '../runtime/snapshot.ts'

export type Judged = {
  readonly judgement: Judgement
  readonly attributes: HttpRequestAttributes
  /** Names that the caller's `Connection` field lists. */
  readonly nominated: ReadonlySet<string>
  /** It asks to change to WebSocket. */
  readonly upgrade: boolean
  /** Under which it was judged, and under which it goes out. */
  readonly snapshot: Snapshot
}
