/** One host behind several loopback endpoints that say which they are, and a DestinationRule that a test is about. */
import net from 'node:net'
import type { TestContext } from 'node:test'
import { type Harness, type LogLine } from '../../src/testing/harness.ts'
import { type Answer, plainConnect, type RequestOptions, request } from '../../src/testing/mesh-client.ts'
import { type RawOrigin, type RecordedConnection, startRawOrigin } from '../../src/testing/origin.ts'
import { destinationRule, documents, gateway, serviceEntry, to, virtualService } from '../integration/manifests.ts'
import { stat } from '../integration/operator.ts'
import { started } from '../integration/started.ts'

export const HOST = 'site.example'
export const CLUSTER = `outbound|80||${HOST}`

/** What an endpoint answers; null: nothing. */
export type Reaction = number | null

/** An outside endpoint: the body of its answers is its name. */
export type Member = AsyncDisposable & {
  readonly name: string
  readonly address: string
  readonly port: number
  /** Requests seen so far. */
  seen: number
  /** Connections seen so far. */
  readonly connections: () => number
  reaction: (head: string) => Reaction
}

/** Listens on 127.0.0.`nth`. */
export async function startMember(nth: number, reaction: Member['reaction'] = () => 200): Promise<Member> {
  const name = `m${nth}`
  const address = `127.0.0.${nth}`
  const onRequest = ({ socket }: RecordedConnection, head: string): void => {
    member.seen++
    const status = member.reaction(head)
    if (status !== null) socket.write(`HTTP/1.1 ${status} X\r\ncontent-length: ${name.length}\r\n\r\n${name}`)
  }
  const origin: RawOrigin = await startRawOrigin({ host: address, onRequest })
  const member: Member = {
    name,
    address,
    port: origin.port,
    seen: 0,
    connections: () => origin.connections.length,
    reaction,
    [Symbol.asyncDispose]: async () => origin.close(),
  }
  return member
}

/** Disposing of it drains the gateway and asserts that nothing is left open. */
export type BalancedSite = AsyncDisposable & {
  readonly harness: Harness
  /** A request on a connection of its own; `from`: the caller's loopback address. */
  ask(options?: RequestOptions & { readonly from?: string }): Promise<Answer>
  /** The bodies of so many answers, one request after the other on one connection. */
  names(count: number, options?: (index: number) => RequestOptions): Promise<string[]>
  /** `cluster.….NAME` of `/stats`. */
  stat(name: string): Promise<number | null>
  /** Other endpoints, another policy. */
  reload(members: readonly Place[], trafficPolicy: object): Promise<void>
  line(index: number): Promise<LogLine | undefined>
}

type Place = { readonly address: string; readonly port: number }

function resources(members: readonly Place[], trafficPolicy: object): string {
  const endpoints = members.map(({ address, port }) => ({ address, ports: { p: port } }))
  return documents(
    gateway(),
    serviceEntry('site', HOST, 80, { spec: { endpoints } }),
    // Every failure is seen as it is.
    virtualService('site', [HOST], [{ route: to(HOST), retries: { attempts: 0 } }]),
    destinationRule('site', HOST, trafficPolicy),
  )
}

export async function balancedSite(
  t: TestContext,
  members: readonly Place[],
  trafficPolicy: object,
): Promise<BalancedSite> {
  const harness = await started(t, { resources: { 'all.yaml': resources(members, trafficPolicy) } })
  const port = harness.gateway.port(80)
  return {
    harness,
    ask: async ({ from, ...options } = {}) => {
      const socket = from === undefined ? await plainConnect(port) : await connectFrom(port, from)
      try {
        return await request(socket, HOST, options)
      } finally {
        socket.destroy()
      }
    },
    names: async (count, options = () => ({})) => {
      const socket = await plainConnect(port)
      const found: string[] = []
      for (let i = 0; i < count; i++) found.push((await request(socket, HOST, options(i))).body)
      socket.destroy()
      return found
    },
    stat: async (name) => stat(harness, `cluster.${CLUSTER}.${name}`),
    reload: async (others, policy) => {
      const result = await harness.change({ 'all.yaml': resources(others, policy) })
      if (!result.ok) throw new Error(`refused: ${JSON.stringify(result)}`)
    },
    [Symbol.asyncDispose]: async () => harness.stop(),
    line: async (index) => (await harness.lines(index + 1))[index],
  }
}

export async function connectFrom(port: number, localAddress: string): Promise<net.Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<net.Socket>()
  const socket = net.connect({ host: '127.0.0.1', port, localAddress })
  socket.once('connect', () => resolve(socket))
  socket.once('error', reject)
  return promise
}

/** How many of `names` are `name`. */
export function count(names: readonly string[], { name }: Pick<Member, 'name'>): number {
  return names.filter((each) => each === name).length
}
