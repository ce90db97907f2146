/** A gateway with VirtualServices in front of two echo sites: the answer says which site, the log line which rule. */
import type { Socket } from 'node:net'
import { after, before } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import { type Harness, type HarnessOptions, type LogLine, startHarness } from '../../src/testing/harness.ts'
import { type Answer, plainConnect, type RequestOptions, request } from '../../src/testing/mesh-client.ts'
import { type EchoOrigin, startEchoOrigin } from '../../src/testing/origin.ts'
import { documents, gateway, type Manifest, serviceEntry, virtualService } from '../integration/manifests.ts'

export const HOST = 'site.example'
/** Hosts of the two sites; `title` of their pages is `a` and `b`. */
export const A = 'a.example'
export const B = 'b.example'

export type Called = { readonly answer: Answer; readonly line: LogLine }

export type RouteSite = {
  readonly harness: Harness
  readonly a: EchoOrigin
  readonly b: EchoOrigin
  /** One request for `path` to `site.example` on Gateway port 80 (or `socket`), and its line. */
  readonly call: (path: string, options?: CallOptions) => Promise<Called>
}

export type CallOptions = RequestOptions & {
  readonly host?: string
  /** Gateway port. */
  readonly port?: number
  /** Used, and closed, instead of a plaintext connection. */
  readonly socket?: Socket
}

export type RouteSiteOptions = Omit<HarnessOptions, 'resources'> & {
  /** Instead of one plaintext server on port 80. */
  readonly gateway?: Manifest
  readonly manifests?: readonly Manifest[]
}

/** What a TestContext offers, and `sharedSite` too. */
type Ending = { after(end: () => unknown): void }

/** One site for all tests of a file: for tables of rows, each in VirtualServices of its own. */
export function sharedSite(rules: readonly object[], options: RouteSiteOptions = {}): () => RouteSite {
  let site: RouteSite | null = null
  const ends: (() => unknown)[] = []
  before(async () => {
    site = await routeSite({ after: (end) => ends.push(end) }, rules, options)
  })
  after(async () => {
    for (const end of ends.toReversed()) await end()
  })
  return () => {
    if (site === null) throw new Error('asked before the site is up')
    return site
  }
}

/** `rules`: `http` of a VirtualService for `site.example`; with none there is no such VirtualService. */
export async function routeSite(
  t: Ending,
  rules: readonly object[],
  options: RouteSiteOptions = {},
): Promise<RouteSite> {
  const { gateway: server = gateway(), manifests = [], ...rest } = options
  const a = await startEchoOrigin({ name: 'a' })
  t.after(() => a.close())
  const b = await startEchoOrigin({ name: 'b' })
  t.after(() => b.close())
  const sites = [serviceEntry('a', A, a.port), serviceEntry('b', B, b.port)]
  const own = rules.length === 0 ? [] : [virtualService('site', [HOST], rules)]
  const resources = { 'all.yaml': documents(server, ...sites, ...own, ...manifests) }
  const harness = await startHarness({ ...rest, resources })
  t.after(() => harness.gateway.destroy())
  let sent = 0
  return {
    harness,
    a,
    b,
    call: async (path, { host = HOST, port = 80, socket: given, ...requestOptions } = {}) => {
      const socket = given ?? (await plainConnect(harness.gateway.port(port)))
      try {
        sent += 1
        const answer = await request(socket, host, { path, ...requestOptions })
        return { answer, line: (await harness.lines(sent))[sent - 1] ?? {} }
      } finally {
        socket.destroy()
      }
    },
  }
}

/** Which site answered: `a`, `b`, or null. */
export function siteOf({ answer }: Called): string | null {
  return /<title>(\w+)<\/title>/.exec(answer.body)?.[1] ?? null
}

export function routeOf({ line }: Called): unknown {
  return line['route_name']
}

/** Fields of the request as `/anything` and `/headers` echo them. */
export function echoed({ answer }: Called): Readonly<Record<string, string>> {
  return (JSON.parse(answer.body) as { readonly headers: Readonly<Record<string, string>> }).headers
}

/** The findings of a code when the configuration was read; waits until there are `count`. */
export async function told({ log }: Pick<Harness, 'log'>, code: string, count: number): Promise<readonly string[]> {
  return eventually(`${count} times ${code} in the log`, () => {
    const found = log().flatMap(({ message }) => (String(message).includes(` ${code} `) ? [String(message)] : []))
    return found.length >= count ? found : null
  })
}
