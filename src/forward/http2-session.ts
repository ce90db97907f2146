/**
 * One HTTP/2 connection to an upstream (RFC 9113), by `node:http2` over a socket that was dialled and verified before.
 * It lends streams, as many as both sides allow, and ends when it is told to, when nobody has used it for long enough, or
 * when the other side is gone.
 */
import { type ClientHttp2Session, type ClientHttp2Stream, type ClientSessionRequestOptions, connect } from 'node:http2'
import type { ClusterStats } from '../core/stats.ts'
import type { ConnectionPoolModel } from '../model/cluster.ts'
import type { ResponseLimits } from './cluster.ts'
import type { PoolIdentity } from './pool-identity.ts'
import type { PooledConnection } from './pooled-connection.ts'
import { MAX_TIMER_MS } from './retry-policy.ts'

/** What one answer may have in flight, and all of a connection together. Bytes; a caller who stops reading stops at the first. */
const STREAM_WINDOW = 256 * 1024
const CONNECTION_WINDOW = 4 * 1024 * 1024
/** Of Node's own accounting, megabytes: requests that wait to be written count, and there may be many. */
const SESSION_MEMORY_MB = 64
/** Stream identifiers run out at 2^30 requests; long before, another connection takes over. */
const MAX_REQUESTS = 2 ** 29
/** How long a GOAWAY may take to be read, milliseconds. */
const DELAYED_CLOSE_MS = 1_000

/** What an upstream may do at most that costs us something (threats 15–17 hold for servers, too); and how fields are sent. */
const OPTIONS = {
  // Repeated ones as they were judged; by default Node throws for some names.
  strictSingleValueFields: false,
  maxSessionMemory: SESSION_MEMORY_MB,
  maxSessionInvalidFrames: 100,
  maxOutstandingPings: 10,
  maxReservedRemoteStreams: 0,
  maxSettings: 32,
  maxOriginSetSize: 16,
}

export type SessionParts = {
  readonly connection: PooledConnection
  readonly identity: PoolIdentity
  readonly limits: ResponseLimits
  readonly stats: ClusterStats
  /** Streams that the other side is taken to allow until it has said so itself. */
  readonly peerLimit: number
  /** A stream has become free, or the other side allows more of them. */
  readonly onRoom: () => void
  /** No further stream will be lent. */
  readonly onLeft: () => void
}

export class UpstreamSession {
  readonly connection: PooledConnection
  /** Streams that the other side allows at once. */
  peerLimit: number
  readonly #session: ClientHttp2Session
  readonly #parts: SessionParts
  readonly #idle: NodeJS.Timeout | null
  #open = 0
  #begun = 0
  #left = false
  /** The last of our streams that the other side has looked at; null: it has not said goodbye. */
  #lastStream: number | null = null

  constructor(parts: SessionParts) {
    const { connection, limits, stats } = parts
    const { idleTimeoutMs, http2 } = parts.identity
    this.connection = connection
    this.peerLimit = parts.peerLimit
    this.#parts = parts
    stats.upstream_cx_http2_total++
    connection.onOld = () => this.retire()
    const session = connect('http://upstream.invalid', {
      ...OPTIONS,
      createConnection: () => connection.socket,
      maxHeaderListPairs: limits.maxHeaders + 8,
      settings: { enablePush: false, initialWindowSize: STREAM_WINDOW, maxHeaderListSize: limits.maxHeaderBytes },
    })
    session.setLocalWindowSize(CONNECTION_WINDOW)
    // Streams hear of it themselves.
    session.on('error', () => undefined)
    session.on('remoteSettings', ({ maxConcurrentStreams = Number.POSITIVE_INFINITY }) => {
      this.peerLimit = maxConcurrentStreams
      parts.onRoom()
    })
    session.on('goaway', (_code, lastStream) => {
      this.#lastStream = lastStream
      this.#leave()
    })
    session.once('close', () => {
      if (this.#idle !== null) clearTimeout(this.#idle)
      this.#leave()
      connection.destroy()
    })
    this.#session = session
    // Timers of our own: Node 24 does not clear those of a session when it is destroyed.
    this.#idle =
      idleTimeoutMs === 0 ? null : setTimeout(() => this.#tire(), Math.min(idleTimeoutMs, MAX_TIMER_MS)).unref()
    session.unref()
    if (http2 !== null && http2.keepAlive !== null) watchLife(session, http2.keepAlive, stats)
  }

  /** Requests under way. */
  get open(): number {
    return this.#open
  }
  get usable(): boolean {
    return !this.#left && !this.#session.closed && !this.#session.destroyed
  }
  /** Everything that is not usable any more may still carry what it has begun; this one may not. */
  get gone(): boolean {
    return this.#session.destroyed || this.connection.socket.destroyed
  }

  /** A stream to be, while there are fewer than `limit` (and than the other side allows); null: none. */
  lend(limit: number): Http2Line | null {
    if (!this.usable || this.#open >= limit || this.#open >= this.peerLimit) return null
    const reused = this.#begun > 0
    this.#open++
    this.#begun++
    if (this.#open === 1) this.#session.ref()
    if (this.#begun >= (this.#parts.identity.maxRequests ?? MAX_REQUESTS)) {
      this.#parts.stats.upstream_cx_max_requests++
      this.#leave()
    }
    return new Http2Line(this, reused)
  }

  /** Called by a line; the last one of a session that is to end ends it. */
  giveBack(): void {
    this.#open--
    this.connection.account()
    if (this.#left) this.#closeWhenQuiet()
    if (this.#open > 0) return this.#parts.onRoom()
    if (!this.#session.destroyed) this.#session.unref()
    this.#idle?.refresh()
    this.#parts.onRoom()
  }

  request(fields: readonly string[], options: ClientSessionRequestOptions): ClientHttp2Stream {
    return this.#session.request(fields, options)
  }

  /** True when the other side says that it has not looked at this stream (RFC 9113 §6.8); `id` undefined: never sent. */
  ignored(id: number | undefined): boolean {
    return id === undefined || (this.#lastStream !== null && id > this.#lastStream)
  }

  /** Lends nothing more; closes with GOAWAY when what it carries has ended. Idempotent. */
  retire(): void {
    this.#leave()
    this.#closeWhenQuiet()
  }

  /** Closes now if nothing is under way; false: something is. */
  closeIdle(): boolean {
    if (this.#open > 0 || !this.usable) return false
    this.retire()
    return true
  }

  #leave(): void {
    if (this.#left) return
    this.#left = true
    this.#parts.onLeft()
  }

  #closeWhenQuiet(): void {
    if (this.#open > 0) return
    this.#session.close()
    // Node then waits for the other side to close, too.
    setTimeout(() => this.connection.destroy(), DELAYED_CLOSE_MS).unref()
  }

  #tire(): void {
    if (this.#open > 0 || this.#left) return
    this.#parts.stats.upstream_cx_idle_timeout++
    this.retire()
  }
}

/** The place of one request on a session. `destroy()`: it was not needed after all. */
export class Http2Line {
  /** Requests have gone over this connection before. */
  readonly reused: boolean
  readonly #session: UpstreamSession
  #returned = false

  constructor(session: UpstreamSession, reused: boolean) {
    this.#session = session
    this.reused = reused
  }

  get localAddress(): string {
    return this.#session.connection.localAddress
  }
  /** Of the whole connection. */
  get bytesRead(): number {
    return this.#session.connection.bytesRead
  }
  get gone(): boolean {
    return this.#session.gone
  }

  /** Fields: flat, pseudo fields first. @throws when they cannot be sent */
  request(fields: readonly string[], options: ClientSessionRequestOptions): ClientHttp2Stream {
    return this.#session.request(fields, options)
  }

  ignored(id: number | undefined): boolean {
    return this.#session.ignored(id)
  }

  /** Its stream has ended. Idempotent. */
  release(): void {
    if (this.#returned) return
    this.#returned = true
    this.#session.giveBack()
  }

  destroy(): void {
    this.release()
  }
}

/** PINGs at an interval, whatever else goes on, as Envoy's `connection_keepalive`; one without an answer in time ends it. */
function watchLife(
  session: ClientHttp2Session,
  { intervalMs, timeoutMs }: NonNullable<ConnectionPoolModel['http2KeepAlive']>,
  stats: ClusterStats,
): void {
  let waiting: NodeJS.Timeout | null = null
  const timer = setInterval(() => {
    // After a GOAWAY, of whichever side, Node sends none.
    if (session.destroyed || session.closed || waiting !== null) return
    waiting = setTimeout(() => {
      stats.http2_keepalive_timeout++
      session.destroy()
    }, timeoutMs).unref()
    session.ping(() => {
      if (waiting !== null) clearTimeout(waiting)
      waiting = null
    })
  }, intervalMs).unref()
  session.once('close', () => {
    clearInterval(timer)
    if (waiting !== null) clearTimeout(waiting)
  })
}
