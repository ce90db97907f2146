/** Families of what gateways share: the store of global limits, and blocks. */
import type { Registry } from 'prom-client'
import { addFamily, type MetricRow } from './family.ts'

/** TABLE of families about shared state. */
export const SHARED_METRICS = {
  sallyport_blocks_active: {
    type: 'gauge',
    help: 'Blocks of `sallyport block` that hold in this process.',
    labels: [],
  },
  sallyport_blocked_total: {
    type: 'counter',
    help: 'Requests and tunnels that a block refused, or ended while they were under way.',
    labels: [],
  },
  sallyport_rate_limit_store_up: {
    type: 'gauge',
    help: '1 while the shared store (spec.redis) answers in time, 0 while global limits act as onStoreFailure says. Absent without global limits.',
    labels: [],
  },
  sallyport_rate_limit_store_outages_total: {
    type: 'counter',
    help: 'Times that the shared store stopped answering.',
    labels: [],
  },
  sallyport_rate_limit_store_questions_total: {
    type: 'counter',
    help: 'Questions sent to the shared store; decisions from leases need none.',
    labels: [],
  },
  sallyport_rate_limit_store_failures_total: {
    type: 'counter',
    help: 'Decisions that the shared store did not answer: closed (known to be down), deadline, busy, connection, refused (READONLY, OOM …), garbage.',
    labels: ['cause'],
  },
} as const satisfies Record<string, MetricRow>

type StoreCounts = {
  readonly up: boolean
  readonly outages: number
  readonly questions: number
  readonly failures: Readonly<Record<string, number>>
}

/** Read at scrape. */
export type SharedSources = {
  readonly blocksActive: () => number
  readonly blocked: () => number
  /** null: no limit asks for it. */
  readonly store: () => StoreCounts | null
}

export function registerShared(registry: Registry, { blocksActive, blocked, store }: SharedSources): void {
  const one = (name: keyof typeof SHARED_METRICS, value: () => number | null) =>
    addFamily(registry, name, SHARED_METRICS[name], () => {
      const now = value()
      return now === null ? [] : [{ labels: {}, value: now }]
    })
  const ofStore = (read: (counts: StoreCounts) => number) => (): number | null => {
    const counts = store()
    return counts === null ? null : read(counts)
  }
  one('sallyport_blocks_active', blocksActive)
  one('sallyport_blocked_total', blocked)
  one(
    'sallyport_rate_limit_store_up',
    ofStore(({ up }) => (up ? 1 : 0)),
  )
  one(
    'sallyport_rate_limit_store_outages_total',
    ofStore(({ outages }) => outages),
  )
  one(
    'sallyport_rate_limit_store_questions_total',
    ofStore(({ questions }) => questions),
  )
  const failures = 'sallyport_rate_limit_store_failures_total'
  addFamily(registry, failures, SHARED_METRICS[failures], () =>
    Object.entries(store()?.failures ?? {}).map(([cause, value]) => ({ labels: { cause }, value })),
  )
}
