/** A gateway in front of named sites on loopback, for tests that ask: which of them answers, if any? */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { TestContext } from 'node:test'
import type { Harness, HarnessOptions, LogLine } from '../../src/testing/harness.ts'
import { type Answer, plainConnect, request } from '../../src/testing/mesh-client.ts'
import { type EchoOrigin, type OriginTls, startEchoOrigin } from '../../src/testing/origin.ts'
import { documents, gateway, type Manifest, to, virtualService } from '../integration/manifests.ts'
import { started } from '../integration/started.ts'

export type Sites = Readonly<Record<string, EchoOrigin>>

/** One site per name; its page says that name. */
export async function startSites(
  t: TestContext,
  names: readonly string[],
  options: { readonly tls?: OriginTls; readonly host?: string } = {},
): Promise<Sites> {
  const sites = await Promise.all(
    names.map(async (name) => [name, await startEchoOrigin({ name, ...options })] as const),
  )
  t.after(async () => {
    await Promise.all(sites.map(([, site]) => site.close()))
  })
  return Object.fromEntries(sites)
}

/** A STATIC endpoint that is this site, for a service port called `p` (manifests.ts `serviceEntry`). */
export function endpoint(sites: Sites, name: string, more: object = {}): object {
  const site = sites[name]
  assert.ok(site !== undefined, name)
  return { address: '127.0.0.1', ports: { p: site.port }, ...more }
}

/** Everything for `host` to one port of it, or a subset; tried once, so that the answer is that of the first try. */
export function routeTo(host: string, subset: string | null = null, number = 80): Manifest {
  const [route] = to(host, number)
  const destination = { ...route?.destination, ...(subset === null ? {} : { subset }) }
  return virtualService(
    `route-${host.replace('*', 'any')}`,
    [host],
    [{ route: [{ destination }], retries: { attempts: 0 } }],
  )
}

/** The manifest in another namespace. */
export function inNamespace(namespace: string, manifest: Manifest): Manifest {
  const { metadata } = manifest as { readonly metadata?: object }
  return { ...manifest, metadata: { ...metadata, namespace } }
}

export type Called = {
  readonly status: number
  /** Name of the site that answered; null: the gateway did. */
  readonly site: string | null
  readonly answer: Answer
  readonly line: LogLine
}

export type Outside = {
  readonly harness: Harness
  /** One request on a connection of its own, in plain text. */
  call(host: string, path?: string): Promise<Called>
  /** Who answered `count` requests, by name; statuses where the gateway did. */
  tally(host: string, count: number): Promise<Readonly<Record<string, number>>>
  /** Other resources. @throws when they are not taken */
  become(manifests: readonly Manifest[]): Promise<void>
}

export async function startOutside(
  t: TestContext,
  manifests: readonly Manifest[],
  options: Omit<HarnessOptions, 'resources'> = {},
): Promise<Outside> {
  const all = (more: readonly Manifest[]) => documents(gateway(), ...more)
  const harness = await started(t, { ...options, resources: { 'all.yaml': all(manifests) } })
  let sent = 0
  const ask = async (host: string, path: string): Promise<Answer> => {
    const socket = await plainConnect(harness.gateway.port(80))
    try {
      const answer = await request(socket, host, { path })
      sent += 1
      return answer
    } finally {
      socket.destroy()
    }
  }
  return {
    harness,
    call: async (host, path = '/') => {
      const answer = await ask(host, path)
      const line = (await harness.lines(sent))[sent - 1] ?? {}
      return { status: answer.status, site: siteOf(answer), answer, line }
    },
    tally: async (host, count) => {
      const counts: Record<string, number> = {}
      for (let i = 0; i < count; i++) {
        const answer = await ask(host, '/')
        const name = siteOf(answer) ?? String(answer.status)
        counts[name] = (counts[name] ?? 0) + 1
      }
      return counts
    },
    become: async (more) => {
      assert.deepEqual(await harness.change({ 'all.yaml': all(more) }), { ok: true, errors: [] })
    },
  }
}

function siteOf({ body }: Answer): string | null {
  return /<title>(.*)<\/title>/.exec(body)?.[1] ?? null
}

/** One plain site per loopback address, all on one port; each page says its address. */
export async function startAddresses(t: TestContext, addresses: readonly string[]): Promise<number> {
  let port = 0
  for (const address of addresses) {
    const server = createServer((_request, response) => response.end(`<title>${address}</title>`))
    server.listen(port, address)
    await once(server, 'listening')
    port = (server.address() as AddressInfo).port
    t.after(async () => {
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    })
  }
  return port
}
