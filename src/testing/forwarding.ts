/** Drives a forwarding engine without a gateway in front: cluster models for loopback, one call per request. */
import { buffer } from 'node:stream/consumers'
import type { HeaderList } from '../core/attributes.ts'
import type { UpstreamCluster } from '../forward/cluster.ts'
import { type ClusterEnvironment, type ClusterSet, createClusters } from '../forward/clusters.ts'
import type { Forwarder } from '../forward/engine.ts'
import type {
  CallerAddresses,
  ForwardHandle,
  OutgoingRequest,
  UpstreamFailure,
  UpstreamResponse,
} from '../forward/forwarder.ts'
import { createHttpProxyForwarder } from '../forward/http-proxy.ts'
import { createHttp2Forwarder } from '../forward/http2.ts'
import { sendWithRetries } from '../forward/retry.ts'
import { createWireForwarder } from '../forward/wire/forwarder.ts'
import { type ClusterModel, UNLIMITED_POOL, type UpstreamTlsModel } from '../model/cluster.ts'
import type { RetryModel } from '../model/route.ts'

/** Every engine passes the same tests (contract §10): a new one is a row here. */
export const ENGINES: Readonly<Record<string, () => Forwarder>> = {
  'http-proxy': createHttpProxyForwarder,
  wire: createWireForwarder,
}

/** And so does HTTP/2, where it is not about the bytes of HTTP/1.1. */
export const VERSIONS: Readonly<Record<string, { readonly http2: boolean; readonly create: () => Forwarder }>> = {
  ...Object.fromEntries(Object.entries(ENGINES).map(([engine, create]) => [engine, { http2: false, create }])),
  'HTTP/2': { http2: true, create: createHttp2Forwarder },
}

/** Where tests' requests are said to come from. */
export const CALLER: CallerAddresses = {
  sourceIp: '192.0.2.7',
  sourcePort: 40_000,
  destinationIp: '192.0.2.1',
  destinationPort: 8080,
}

/** A STATIC cluster for one loopback port, unless told otherwise. */
export function clusterModel(port: number, options: Partial<ClusterModel> = {}): ClusterModel {
  return {
    name: 'outbound|80||site.example',
    statName: 'outbound|80||site.example',
    host: 'site.example',
    port: 80,
    discovery: 'static',
    endpoints: [{ address: '127.0.0.1', port, weight: 1, locality: '', priority: 0 }],
    dynamicPort: port,
    external: true,
    tls: null,
    protocol: 'http1',
    loadBalancer: { kind: 'ROUND_ROBIN', warmup: null },
    connectTimeoutMs: 5_000,
    pool: UNLIMITED_POOL,
    outlierDetection: null,
    proxyProtocol: null,
    tunnel: null,
    source: { file: 'test.yaml', line: 1, col: 1 },
    ...options,
  }
}

export function upstreamTls(options: Partial<UpstreamTlsModel> = {}): UpstreamTlsModel {
  return {
    mode: 'SIMPLE',
    sni: null,
    subjectAltNames: [],
    ca: 'system',
    clientCertificate: null,
    insecureSkipVerify: false,
    crl: null,
    ...options,
  }
}

/** What Istio does when a route says nothing, but without waiting. */
export function retryModel(options: Partial<RetryModel> = {}): RetryModel {
  return {
    attempts: 2,
    on: ['connect-failure', 'refused-stream', 'unavailable', 'cancelled', 'retriable-status-codes'],
    statusCodes: [],
    perTryTimeoutMs: null,
    backoffMs: 1,
    ignorePreviousHosts: true,
    remoteLocalities: false,
    ...options,
  }
}

export type EnvironmentOptions = {
  /** PEM of what upstreams must chain to. */
  readonly ca?: string
  readonly client?: { readonly cert: string; readonly key: string }
  readonly allow?: readonly string[]
  readonly dns?: Partial<ClusterEnvironment['settings']['dns']>
  readonly http?: Partial<ClusterEnvironment['settings']['http']>
  readonly isSelf?: ClusterEnvironment['isSelf']
}

export function clusterEnvironment(options: EnvironmentOptions = {}): ClusterEnvironment {
  const { ca = null, client } = options
  return {
    material: () => ({
      ca: ca === null ? null : [ca],
      crl: null,
      cert: client?.cert ?? null,
      key: client?.key ?? null,
      hash: JSON.stringify([ca, client ?? null]),
    }),
    settings: {
      dns: { servers: [], minTtlMs: 1_000, maxTtlMs: 300_000, staleForMs: 600_000, ...options.dns },
      addressGuard: { allow: options.allow ?? [] },
      http: { idleTimeoutMs: 60_000, maxHeaderBytes: 61_440, maxHeaders: 100, ...options.http },
      mesh: { connectTimeoutMs: 5_000 },
    },
    isSelf: options.isSelf ?? (() => false),
  }
}

/** What became of one request. */
export type Outcome =
  | {
      readonly kind: 'response'
      readonly response: UpstreamResponse
      readonly status: number
      readonly headers: HeaderList
      /** Resolves with the whole body; rejects when it breaks off. */
      readonly body: () => Promise<Buffer>
      readonly handle: ForwardHandle
    }
  | { readonly kind: 'failure'; readonly failure: UpstreamFailure }

export type SentRequest = {
  readonly outcome: Promise<Outcome>
  readonly handle: ForwardHandle
  /** One per attempt. */
  readonly connected: { readonly host: string; readonly localAddress: string; readonly reused: boolean }[]
  /** Calls of handlers beyond what the seam allows; must stay empty. */
  readonly surplus: string[]
  /** What the retry layer said, in order: `retry N`, `exhausted`, `overflow`. */
  readonly notes: string[]
}

export type TestUpstream = Disposable & {
  readonly set: ClusterSet
  readonly cluster: UpstreamCluster
  /** Without `retry` there is one try. */
  send(request?: Partial<OutgoingRequest>, retry?: RetryModel): SentRequest
  /** `send` and wait. */
  request(request?: Partial<OutgoingRequest>, retry?: RetryModel): Promise<Outcome>
  /** Sends a GET and reads its answer; throws on a failure. */
  get(target?: string): Promise<{ readonly status: number; readonly text: string; readonly reused: boolean }>
  close(): void
}

/** A forwarder over one cluster. `previous` shares pools as a reload does. */
export function testUpstream(
  model: ClusterModel,
  environment: ClusterEnvironment = clusterEnvironment(),
  options: { readonly previous?: ClusterSet; readonly forwarder?: Forwarder } = {},
): TestUpstream {
  const set = createClusters([model], environment, options.previous ?? null)
  const cluster = set.get(model.name)
  if (cluster === null) throw new Error(`no cluster ${model.name}`)
  const forwarder = options.forwarder ?? createHttpProxyForwarder()
  const send = (request: Partial<OutgoingRequest> = {}, retry: RetryModel | null = null): SentRequest =>
    sendThrough(forwarder, cluster, request, retry)
  return {
    set,
    cluster,
    send,
    request: async (request, retry) => send(request, retry).outcome,
    get: async (target = '/') => {
      const sent = send({ target })
      const outcome = await sent.outcome
      if (outcome.kind === 'failure') throw new Error(`no response: ${JSON.stringify(outcome.failure)}`)
      const text = (await outcome.body()).toString()
      return { status: outcome.status, text, reused: sent.connected.at(-1)?.reused ?? false }
    },
    close: () => set.retire(),
    [Symbol.dispose]: () => set.retire(),
  }
}

/** GET / for site.example, without a body, and what is said otherwise. */
export function outgoing(request: Partial<OutgoingRequest> = {}): OutgoingRequest {
  return {
    method: 'GET',
    target: '/',
    headers: ['host', 'site.example'],
    body: null,
    requestedHost: 'site.example',
    portOverride: null,
    hash: null,
    caller: CALLER,
    trailers: null,
    clientProtocol: 'HTTP/1.1',
    ...request,
  }
}

/** Sends one request (`outgoing`) to any cluster. */
export function sendThrough(
  forwarder: Forwarder,
  cluster: UpstreamCluster,
  request: Partial<OutgoingRequest>,
  retry: RetryModel | null = null,
): SentRequest {
  const connected: { host: string; localAddress: string; reused: boolean }[] = []
  const surplus: string[] = []
  const notes: string[] = []
  const { promise, resolve } = Promise.withResolvers<Outcome>()
  let settled = false
  const settle = (name: string, outcome: Outcome): void => {
    if (settled) surplus.push(name)
    settled = true
    resolve(outcome)
  }
  const handle: ForwardHandle = sendWithRetries(forwarder, cluster, outgoing(request), retry, {
    onConnected: (upstream) => {
      if (settled) surplus.push('onConnected')
      connected.push(upstream)
    },
    onResponse: (response) =>
      settle('onResponse', {
        kind: 'response',
        response,
        status: response.status,
        headers: response.headers,
        body: async () => buffer(response.body),
        handle,
      }),
    onFailure: (failure) => settle('onFailure', { kind: 'failure', failure }),
    onRetry: (attempt) => notes.push(`retry ${attempt}`),
    onRetriesExhausted: () => notes.push('exhausted'),
    onRetryOverflow: () => notes.push('overflow'),
  })
  return { outcome: promise, handle, connected, surplus, notes }
}

/** The response, or an error that shows the failure. */
export function responseOf(outcome: Outcome): Extract<Outcome, { kind: 'response' }> {
  if (outcome.kind === 'failure') throw new Error(`expected a response, got ${JSON.stringify(outcome.failure)}`)
  return outcome
}

/** The failure, or an error that shows the status. */
export function failureOf(outcome: Outcome): UpstreamFailure {
  if (outcome.kind === 'response') throw new Error(`expected a failure, got status ${outcome.status}`)
  return outcome.failure
}
