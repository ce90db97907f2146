/** The workloads by name, each with its parts: a table each. A new one is a row. */
import type { Workload } from './bench.ts'
import { W4_FULL, W4_RESUMED } from './handshakes.ts'
import { W5 } from './idle.ts'
import { W1, W1h2, W2, W6, W7, W8, W9 } from './requests.ts'
import { W3 } from './tunnels.ts'

export const WORKLOADS: Readonly<Record<string, readonly Workload[]>> = {
  W1: [W1],
  W1h2: [W1h2],
  W2: [W2],
  W3,
  W4: [W4_FULL, W4_RESUMED],
  W5: [W5],
  W6: [W6],
  W7: [W7],
  W8: [W8],
  W9: [W9],
}
