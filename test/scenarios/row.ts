/**
 * The words of the walk-through tables: what a page's caller sends, what it gets, what the gateway logs. A row stands in one
 * table and is run by every caller that can speak its hop: the tests' own clients, and the programs of test/sidecars.
 */
import type { TestContext } from 'node:test'
import type { Harness } from '../../src/testing/harness.ts'

/** How a caller comes to a Gateway port: what the connection carries, `/mtls` where a sidecar wraps it in its mTLS. */
export type Hop = 'http/mtls' | 'http' | 'tls/mtls' | 'tls' | 'bytes/mtls' | 'bytes'

/** Everything a sidecar must be configured with before a row can be sent. */
export type Way = {
  /** `NS/SA` of the workload; null: no certificate, or nobody to show one to. */
  readonly from: string | null
  readonly port: 80 | 443 | 444
  readonly hop: Hop
  /** What the page's DestinationRule says (`sni`); else the caller's own name for the gateway. */
  readonly sni?: string
}

export type RowRequest = {
  readonly method?: string
  readonly path?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
}

/** What the application sees; `url` and `echo` (header fields) are what the site says it got. */
export type Gets =
  | 'cut'
  | 'another certificate'
  /** The site's answer to bytes that it does not understand: whatever it is. */
  | 'anything'
  | {
      readonly status: number
      readonly body?: string
      readonly length?: number
      readonly url?: string
      readonly echo?: Readonly<Record<string, string>>
      readonly headers?: Readonly<Record<string, string | RegExp>>
      /** Seconds until the answer, at least. */
      readonly seconds?: number
    }

export type Row = Way & {
  readonly name: string
  readonly host: string
  readonly request?: RowRequest
  readonly gets: Gets
  /** The site that is dialled; null: none may be. */
  readonly reaches: SiteName | null
  /** Fields of the access-log line, besides those that follow from the row (expected-line.ts). */
  readonly line?: Readonly<Record<string, unknown>>
}

/** `plain` and `secure` are on ports of their own; `port443` really listens there, where the system lets it. */
export type SiteName = 'plain' | 'secure' | 'port443'

/** One step of a page: what is applied (file below resources/ → file of the seed, null: deleted), and what is tried then. */
export type Step = {
  readonly name: string
  readonly apply?: Readonly<Record<string, string | null>>
  readonly rows: readonly Row[]
}

/**
 * `PORT_HTTP` in a row's host is replaced by the port of the plain site, as in the YAML.
 */
export type Scenario = {
  readonly title: string
  readonly seed: string
  /** Mounted from the start. */
  readonly files: readonly string[]
  /** Names in the certificates of the TLS sites. */
  readonly sites: readonly [string, ...string[]]
  /** The plain site answers everything with 301 to this URL. */
  readonly moved?: string
  /** What the gateway's resolver answers: name → address; PORT443 stands for the address of that site. */
  readonly names?: Readonly<Record<string, string>>
  /** Changes the text of the bootstrap file: what a page sets elsewhere. */
  readonly edit?: (bootstrap: string) => string
  /** The statistic that counts the connections to the `secure` site. */
  readonly counter?: string
  readonly steps: readonly Step[]
}

/** What a row brought, as the application sees it. */
export type Seen =
  | {
      readonly kind: 'answer'
      readonly status: number
      readonly headers: Readonly<Record<string, string | string[] | undefined>>
      readonly body: string
    }
  | { readonly kind: 'cut' | 'another certificate' | 'bytes' }

export type Speak = (row: Row) => Promise<Seen>

export type CallerContext = {
  readonly t: TestContext
  readonly harness: Harness
  /** PEM of the CA that the applications trust: the outside's, not the mesh's. */
  readonly siteCa: string
  /** Every way that this caller will be asked to go. */
  readonly ways: readonly Way[]
}

/** Somebody in the place of a workload and its sidecar. */
export type Caller = {
  readonly name: string
  /** Of requests, as the access log names it. */
  readonly protocol: 'HTTP/1.1' | 'HTTP/2'
  /** The SNI of a way that names none. */
  sni(port: number): string
  /** Hops it cannot speak, or need not, and why. */
  readonly unspoken: Readonly<Partial<Record<Hop, string>>>
  /** It closes TLS of its own without waiting for the site's last words: those that come then reset the connection (`DC`). */
  readonly hurries?: boolean
  start(context: CallerContext): Promise<Speak>
}

/** What the connection itself carries, with or without mTLS around it. */
export function contentOf(hop: Hop): 'http' | 'tls' | 'bytes' {
  return hop.split('/')[0] as 'http' | 'tls' | 'bytes'
}

export function inMtls(hop: Hop): boolean {
  return hop.endsWith('/mtls')
}

/** Rows with the same key go the same way. */
export function wayKey({ from, port, hop, sni }: Way): string {
  return [from, port, hop, sni].join(' ')
}

export function rowsOf({ steps }: Scenario): readonly Row[] {
  return steps.flatMap(({ rows }) => rows)
}

/** Whether there is anything in the scenario for this caller. */
export function speaks(caller: Caller, scenario: Scenario): boolean {
  return rowsOf(scenario).some(({ hop }) => caller.unspoken[hop] === undefined)
}
