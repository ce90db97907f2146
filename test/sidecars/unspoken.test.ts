/** The table of what programs cannot say leaves no row of a walk-through to the tests' own clients alone. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { rowsOf } from '../scenarios/row.ts'
import { WALK_THROUGHS } from '../scenarios/walk-throughs.ts'
import { UNSPOKEN } from './unspoken.ts'

test('every row is run by at least two programs', () => {
  for (const scenario of WALK_THROUGHS)
    for (const row of rowsOf(scenario)) {
      const programs = Object.entries(UNSPOKEN).filter(([, versions]) =>
        Object.values(versions).some((unspoken: Readonly<Record<string, string>>) => unspoken[row.hop] === undefined),
      )
      assert.ok(programs.length >= 2, `${scenario.title}: ${row.name}: ${programs.map(([name]) => name).join()}`)
    }
})
