import assert from 'node:assert/strict'
import { test } from 'node:test'
import { eventually } from '../testing/eventually.ts'
import { armIdle, disarmIdle, newIdleTimer, removeIdle } from './idle-timers.ts'

test('who is armed tires, not early and once; who is disarmed, removed or armed for later does not', async () => {
  const tired: string[] = []
  const started = performance.now()
  let elapsed = 0
  const timer = (name: string) => newIdleTimer({ tire: () => void tired.push(name) })
  const short = newIdleTimer({
    tire: () => {
      tired.push('short')
      elapsed = performance.now() - started
    },
  })
  const [disarmed, removed, later] = [timer('disarmed'), timer('removed'), timer('later')]
  for (const each of [short, disarmed, removed, later]) armIdle(each, 150)
  disarmIdle(disarmed)
  removeIdle(removed)
  armIdle(later, 60_000)
  await eventually('the short one has tired', () => tired.length > 0)
  assert.ok(elapsed >= 150, `${elapsed} ms`)
  // The wheel goes on while somebody is in it: another one is not forgotten.
  armIdle(short, 50)
  await eventually('it tires again', () => tired.length > 1)
  assert.deepEqual(tired, ['short', 'short'])
  removeIdle(later)
})
