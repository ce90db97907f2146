/**
 * Waits for a condition that no event announces: polled, with a limit, so a failure says what never came true. The limit is generous:
 * it ends a wait for what will never come, it does not measure, and a busy machine must not fail a test.
 */
import { setTimeout as delay } from 'node:timers/promises'

/** Calls `probe` until it answers something other than null/undefined/false. @throws after `timeoutMs`, naming `what` */
export async function eventually<T>(
  what: string,
  probe: () => T | null | undefined | false | Promise<T | null | undefined | false>,
  timeoutMs = 30_000,
): Promise<T> {
  const deadline = performance.now() + timeoutMs
  for (;;) {
    const value = await probe()
    if (value !== null && value !== undefined && value !== false) return value
    if (performance.now() > deadline) throw new Error(`never happened within ${timeoutMs} ms: ${what}`)
    await delay(5)
  }
}
