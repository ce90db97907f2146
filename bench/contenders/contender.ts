/** One program under measurement, ready to be asked by the mesh's mTLS. */
import type { Running } from '../measure/processes.ts'

export type Contender = {
  readonly name: string
  readonly running: Running
  /** Takes mTLS with HTTP/1.1 or HTTP/2, for all of HOSTS. */
  readonly port: number
  /** The JSON access log, one line per request; null: it writes none. */
  readonly log: string | null
}

/** Names in tables, and those that ratios refer to. */
export const NAMES = {
  wire: 'Sallyport wire',
  'http-proxy': 'Sallyport http-proxy',
  nginx: 'nginx',
  haproxy: 'HAProxy',
} as const

export type Engine = 'wire' | 'http-proxy'
export const ENGINES = ['wire', 'http-proxy'] as const satisfies readonly Engine[]
