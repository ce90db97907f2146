/** Every row of every walk-through with the tests' own clients; test/sidecars runs them with real programs. */
import { describe, it } from 'node:test'
import { NODE_H1, NODE_H2 } from './node-callers.ts'
import { speaks } from './row.ts'
import { walk } from './walk.ts'
import { WALK_THROUGHS } from './walk-throughs.ts'

describe('walk-throughs', { concurrency: 4 }, () => {
  for (const caller of [NODE_H1, NODE_H2])
    for (const scenario of WALK_THROUGHS.filter((each) => speaks(caller, each)))
      it(`${scenario.title}, by ${caller.name}`, { timeout: 110_000 }, async (t) => {
        await walk(t, scenario, caller, { explain: caller === NODE_H1 })
      })
})
