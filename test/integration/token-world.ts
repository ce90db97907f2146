/** A gateway that verifies tokens, callers in HTTP/1.1 and HTTP/2, and a site that tells what has reached it. */
import assert from 'node:assert/strict'
import type { ClientHttp2Session } from 'node:http2'
import type { Socket } from 'node:net'
import type { TestContext } from 'node:test'
import { h2Request, meshH2 } from '../../src/testing/h2-client.ts'
import type { Harness, LogLine } from '../../src/testing/harness.ts'
import { meshConnect, type RequestOptions, request } from '../../src/testing/mesh-client.ts'
import { type EchoOrigin, startEchoOrigin } from '../../src/testing/origin.ts'
import { documents, gateway, ISTIO_MUTUAL, type Manifest, serviceEntry, to, virtualService } from './manifests.ts'
import { started } from './started.ts'

export const HOST = 'httpbin.example'
export const OTHER_HOST = 'other.example'

export type Protocol = 'HTTP/1.1' | 'HTTP/2'
export const PROTOCOLS: readonly Protocol[] = ['HTTP/1.1', 'HTTP/2']

export type Asked = {
  readonly status: number
  readonly body: string
  /** Of the answer, lower case. */
  readonly headers: Readonly<Record<string, unknown>>
  /** What reached the site, as it names it (`Authorization`); null: nothing did. */
  readonly arrived: Readonly<Record<string, string>> | null
  /** Target of what reached the site. */
  readonly target: string | null
}

export type TokenWorld = {
  readonly harness: Harness
  readonly origin: EchoOrigin
  readonly ask: (protocol: Protocol, options?: RequestOptions & { readonly host?: string }) => Promise<Asked>
  /** Replaces what is about tokens and policies. @throws when it is not taken */
  readonly become: (...manifests: readonly Manifest[]) => Promise<void>
  /** The access-log line of the last request. */
  readonly lastLine: () => Promise<LogLine>
}

export async function startTokenWorld(
  t: TestContext,
  manifests: readonly Manifest[],
  spec: Readonly<Record<string, unknown>> = { addressGuard: { allow: ['127.0.0.0/8'] } },
): Promise<TokenWorld> {
  const origin = await startEchoOrigin()
  t.after(() => origin.close())
  const route = (host: string, name: string) => [
    serviceEntry(name, host, origin.port),
    virtualService(name, [host], [{ route: to(host), retries: { attempts: 0 } }]),
  ]
  const base = documents(
    gateway({ number: 80, tls: ISTIO_MUTUAL }),
    ...route(HOST, 'site'),
    ...route(OTHER_HOST, 'other'),
  )
  const resources = (more: readonly Manifest[]) => (more.length === 0 ? null : documents(...more))
  const first = resources(manifests)
  const harness = await started(t, {
    spec,
    resources: { 'base.yaml': base, ...(first === null ? {} : { 'tokens.yaml': first }) },
  })
  const mesh = {
    port: harness.gateway.port(80),
    svid: await harness.pki.svid('apps/sleep'),
    ca: harness.pki.root,
  }
  let socket: Socket | null = null
  let session: ClientHttp2Session | null = null
  t.after(() => {
    socket?.destroy()
    session?.destroy()
  })
  let count = 0
  return {
    harness,
    origin,
    ask: async (protocol, { host = HOST, path = '/anything', ...options } = {}) => {
      const before = origin.requests.length
      count += 1
      let answer: Pick<Asked, 'status' | 'headers'> & { readonly body: string | Buffer }
      if (protocol === 'HTTP/1.1') {
        if (socket === null || socket.destroyed) socket = await meshConnect(mesh)
        answer = await request(socket, host, { ...options, path })
      } else {
        if (session === null || session.destroyed) session = await meshH2(mesh)
        answer = await h2Request(session, host, { ...options, path })
      }
      const body = answer.body.toString()
      const arrivals = origin.requests.slice(before)
      assert.ok(arrivals.length <= 1, arrivals.join())
      const arrived = arrivals.length === 0 || !path.startsWith('/anything') ? null : JSON.parse(body).headers
      return {
        status: answer.status,
        body,
        headers: answer.headers,
        arrived,
        target: arrivals[0]?.split(' ')[1] ?? null,
      }
    },
    become: async (...next) => {
      assert.deepEqual(await harness.change({ 'tokens.yaml': resources(next) }), { ok: true, errors: [] })
    },
    lastLine: async () => (await harness.lines(count)).at(-1) as LogLine,
  }
}

/** `authorization` of a request. */
export function bearer(token: string): { readonly headers: { readonly authorization: string } } {
  return { headers: { authorization: `Bearer ${token}` } }
}
