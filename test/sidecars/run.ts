/** Every walk-through with a program: several at a time, since most of it is waiting (for 3 s in the slowest row). */
import { describe, it } from 'node:test'
import { type Caller, speaks } from '../scenarios/row.ts'
import { walk } from '../scenarios/walk.ts'
import { WALK_THROUGHS } from '../scenarios/walk-throughs.ts'

export function runWalkThroughs(callers: readonly { readonly caller: Caller; readonly skip: string | false }[]): void {
  describe('walk-throughs', { concurrency: 6 }, () => {
    for (const { caller, skip } of callers)
      for (const scenario of WALK_THROUGHS.filter((each) => speaks(caller, each)))
        it(`${scenario.title}, by ${caller.name}`, { skip, timeout: 110_000 }, async (t) => {
          await walk(t, scenario, caller)
        })
  })
}
