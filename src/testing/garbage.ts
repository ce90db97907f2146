/** The garbage collector, for tests that say what is still held once nobody needs it. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

/**
 * Collects whatever nobody holds any more, buffers too: V8 sweeps what is behind them beside the main thread, and only
 * a second collection waits for the first one's sweeping. After one alone, `arrayBuffers` is megabytes too high at times.
 */
export function collectGarbage(): void {
  collect()
  collect()
}
