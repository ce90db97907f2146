/** What a transfer costs in memory, and when it has stopped. */
import { setTimeout as delay } from 'node:timers/promises'

/** Runs `work` and answers by how much the resident set grew at most, bytes. */
export async function growthDuring(work: () => Promise<void>): Promise<number> {
  const before = process.memoryUsage.rss()
  let peak = before
  const sampler = setInterval(() => (peak = Math.max(peak, process.memoryUsage.rss())), 20)
  try {
    await work()
  } finally {
    clearInterval(sampler)
  }
  return peak - before
}

/** Waits until `count` has stood still for a quarter of a second: nothing announces that a flow has stopped. */
export async function stoodStill(count: () => number): Promise<number> {
  for (let last = -1, since = performance.now(); ; await delay(10)) {
    const now = count()
    if (now !== last) since = performance.now()
    else if (now > 0 && performance.now() - since > 250) return now
    last = now
  }
}
