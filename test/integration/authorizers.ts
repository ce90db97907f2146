/** External authorizers on loopback: one that speaks HTTP as OPA's and oauth2-proxy's do, one of Envoy's published gRPC API. */
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import {
  loadPackageDefinition,
  Server,
  ServerCredentials,
  type ServiceClientConstructor,
  type sendUnaryData,
} from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import type { Manifest } from './manifests.ts'

/** A check as an HTTP authorizer saw it. */
export type HttpCheck = {
  readonly method: string
  readonly path: string
  readonly headers: IncomingHttpHeaders
  readonly rawHeaders: readonly string[]
  readonly body: string
}

export type HttpAnswer = {
  readonly status: number
  readonly headers?: Readonly<Record<string, string | string[]>>
  readonly body?: string
}

export type HttpAuthorizer = {
  readonly port: number
  readonly checks: HttpCheck[]
  /** Closes the connections that are idle. */
  hangUp(): void
  /** What it says; `null`: nothing, ever. A function may also take the response over. */
  decide: (check: HttpCheck, response: ServerResponse) => HttpAnswer | null | undefined
}

/** Lets everything through until told otherwise. */
export async function startHttpAuthorizer(
  t: TestContext,
  tls: { readonly cert: string; readonly key: string } | null = null,
): Promise<HttpAuthorizer> {
  const answer = (request: IncomingMessage, response: ServerResponse): void => void serve(request, response)
  const server = tls === null ? createServer(answer) : createHttpsServer(tls, answer)
  const checks: HttpCheck[] = []
  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    let body = ''
    for await (const chunk of request) body += String(chunk)
    const { method = '', url = '', headers, rawHeaders } = request
    const check = { method, path: url, headers, rawHeaders, body }
    checks.push(check)
    const said = authorizer.decide(check, response)
    if (said === null || said === undefined) return
    response.writeHead(said.status, said.headers)
    response.end(said.body)
  }
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(async () => {
    server.close()
    server.closeAllConnections()
    await once(server, 'close')
  })
  const authorizer: HttpAuthorizer = {
    port: (server.address() as AddressInfo).port,
    checks,
    hangUp: () => server.closeIdleConnections(),
    decide: () => ({ status: 200 }),
  }
  return authorizer
}

type Header = {
  readonly header: { readonly key: string; readonly value: string }
  readonly append?: { value: boolean }
  readonly append_action?: number
}

/** What of a CheckRequest tests look at. */
export type GrpcCheck = {
  readonly attributes: {
    readonly source: {
      readonly address: { readonly socket_address: { address: string; port_value: number } }
      readonly principal?: string
    }
    readonly destination: { readonly address: { readonly socket_address: { address: string; port_value: number } } }
    readonly request: {
      readonly time: { readonly seconds: number; readonly nanos?: number }
      readonly http?: {
        readonly id: string
        readonly method: string
        readonly headers: Readonly<Record<string, string>>
        readonly path: string
        readonly host: string
        readonly scheme: string
        readonly size: number
        readonly protocol: string
        readonly body?: string
        readonly raw_body?: Buffer
      }
    }
    readonly tls_session?: { readonly sni: string }
  }
}

/** A CheckResponse, as protobuf's field names have it. */
export type GrpcVerdict = {
  readonly status?: { readonly code?: number; readonly message?: string }
  readonly denied_response?: {
    readonly status?: { readonly code: number }
    readonly headers?: readonly Header[]
    readonly body?: string
  }
  readonly ok_response?: {
    readonly headers?: readonly Header[]
    readonly headers_to_remove?: readonly string[]
    readonly response_headers_to_add?: readonly Header[]
    readonly query_parameters_to_set?: readonly { readonly key: string; readonly value: string }[]
  }
}

export type GrpcAuthorizer = {
  readonly port: number
  readonly checks: GrpcCheck[]
  /** `null`: says nothing, ever. A number: fails with that gRPC status. */
  decide: (check: GrpcCheck) => GrpcVerdict | number | null
}

export const header = (key: string, value: string, append?: boolean): Header => ({
  header: { key, value },
  ...(append === undefined ? {} : { append: { value: append } }),
})

/** `@grpc/grpc-js` with Envoy's API (external_auth.proto). Lets everything through until told otherwise. */
export async function startGrpcAuthorizer(t: TestContext): Promise<GrpcAuthorizer> {
  const definition = loadSync(join(import.meta.dirname, 'external_auth.proto'), { keepCase: true, longs: Number })
  const { envoy } = loadPackageDefinition(definition) as unknown as {
    readonly envoy: {
      readonly service: { readonly auth: { readonly v3: { readonly Authorization: ServiceClientConstructor } } }
    }
  }
  const checks: GrpcCheck[] = []
  const server = new Server()
  server.addService(envoy.service.auth.v3.Authorization.service, {
    Check: (call: { readonly request: GrpcCheck }, answer: sendUnaryData<GrpcVerdict>) => {
      checks.push(call.request)
      const verdict = authorizer.decide(call.request)
      if (verdict === null) return
      if (typeof verdict === 'number') answer({ code: verdict, details: 'as asked' })
      else answer(null, verdict)
    },
  })
  const bound = Promise.withResolvers<number>()
  server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) =>
    error === null ? bound.resolve(port) : bound.reject(error),
  )
  t.after(() => server.forceShutdown())
  const authorizer: GrpcAuthorizer = { port: await bound.promise, checks, decide: () => ({ status: { code: 0 } }) }
  return authorizer
}

/** A provider of this port on loopback. */
export function httpProvider(port: number, more: object = {}, name = 'opa'): object {
  return { name, envoyExtAuthzHttp: { service: '127.0.0.1', port, ...more } }
}

export function grpcProvider(port: number, more: object = {}, name = 'opa'): object {
  return { name, envoyExtAuthzGrpc: { service: '127.0.0.1', port, ...more } }
}

/** A CUSTOM policy of this gateway. */
export function customPolicy(rules: readonly object[], provider = 'opa', name = 'ask'): Manifest {
  return {
    apiVersion: 'security.istio.io/v1',
    kind: 'AuthorizationPolicy',
    metadata: { name, namespace: 'istio-system' },
    spec: { action: 'CUSTOM', provider: { name: provider }, rules },
  }
}
