/** One call to an authorizer: a whole request there, a whole answer back, within a deadline. */
import { Readable } from 'node:stream'
import type { Connection, HeaderList } from '../../core/attributes.ts'
import type { UpstreamCluster } from '../../forward/cluster.ts'
import type { Forwarder } from '../../forward/engine.ts'
import type { ForwardHandle, OutgoingRequest, UpstreamFailure, UpstreamResponse } from '../../forward/forwarder.ts'
import { sendWithRetries } from '../../forward/retry.ts'
import type { RetryModel } from '../../model/route.ts'

/** Of an answer. An authorizer that says more is not understood. */
const MAX_ANSWER = 256 * 1024

/**
 * A check changes nothing, so it may be asked twice: where there was no connection, or one that the authorizer had just
 * let go of.
 */
const RETRY: RetryModel = {
  attempts: 1,
  on: ['connect-failure', 'refused-stream', 'reset'],
  statusCodes: [],
  perTryTimeoutMs: null,
  backoffMs: 10,
  ignorePreviousHosts: true,
  remoteLocalities: false,
}

/** Where calls go. */
export type CallTarget = {
  readonly forwarder: Forwarder
  readonly cluster: UpstreamCluster
  readonly timeoutMs: number
}

/** What is sent. `host` is the first of `headers`, which hold no length unless there is no body. */
export type CallRequest = {
  readonly method: string
  readonly target: string
  readonly headers: HeaderList
  readonly body: Buffer | null
  /** Whose request is asked about. */
  readonly connection: Connection
}

export type Answer = {
  readonly status: number
  readonly headers: HeaderList
  readonly body: Buffer
  readonly trailers: HeaderList | null
}

/** `failure`: why there is no answer, for the log. */
export type CallResult = { readonly answer: Answer } | { readonly failure: string }

export type Call = {
  /** Settles within the target's timeout. Never rejects. */
  readonly result: Promise<CallResult>
  /** Nobody waits for it any more. Idempotent. */
  readonly cancel: () => void
}

export function call({ forwarder, cluster, timeoutMs }: CallTarget, request: CallRequest): Call {
  const { promise, resolve } = Promise.withResolvers<CallResult>()
  let handle: ForwardHandle | null = null
  let done = false
  const settle = (result: CallResult): void => {
    if (done) return
    done = true
    clearTimeout(timer)
    resolve(result)
  }
  const give = (failure: string, why?: 'timeout'): void => {
    const was = done
    settle({ failure })
    if (!was) handle?.abort(why)
  }
  const timer = setTimeout(() => {
    cluster.stats.upstream_rq_timeout += 1
    give(`no answer within ${timeoutMs} ms`, 'timeout')
  }, timeoutMs)
  handle = sendWithRetries(forwarder, cluster, outgoing(cluster, request), RETRY, {
    onConnected: () => undefined,
    onFailure: (failure) => give(describe(failure)),
    onResponse: (response) => collect(response, settle, give),
  })
  return { result: promise, cancel: () => give('the caller has left') }
}

function outgoing(cluster: UpstreamCluster, request: CallRequest): OutgoingRequest {
  const { connection, body, method, target, headers } = request
  return {
    method,
    target,
    headers: body === null ? headers : [...headers, 'content-length', String(body.length)],
    body: body === null ? null : oneChunk(body),
    requestedHost: cluster.model.host,
    portOverride: null,
    hash: null,
    caller: {
      sourceIp: connection.remoteAddress,
      sourcePort: connection.remotePort,
      destinationIp: connection.localAddress,
      destinationPort: connection.localPort,
    },
    trailers: null,
    clientProtocol: 'HTTP/1.1',
  }
}

function oneChunk(bytes: Buffer): Readable {
  return new Readable({
    read() {
      if (bytes.length > 0) this.push(bytes)
      this.push(null)
    },
  })
}

function collect(
  { status, headers, body, trailers }: UpstreamResponse,
  settle: (result: CallResult) => void,
  give: (failure: string) => void,
): void {
  const pieces: Buffer[] = []
  let length = 0
  body.on('data', (piece: Buffer) => {
    pieces.push(piece)
    length += piece.length
    if (length > MAX_ANSWER) give(`its answer is longer than ${MAX_ANSWER} bytes`)
  })
  body.on('error', () => give('its answer broke off'))
  body.once('end', () =>
    settle({ answer: { status, headers, body: Buffer.concat(pieces, length), trailers: trailers?.() ?? null } }),
  )
  // Destroyed without a word.
  body.once('close', () => give('its answer broke off'))
}

function describe({ kind, details, transportFailure }: UpstreamFailure): string {
  return [kind, details, transportFailure].filter((part) => part !== null).join(': ')
}
