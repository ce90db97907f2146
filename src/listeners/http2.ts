/**
 * HTTP/2 from callers (RFC 9113): one `node:http2` session per connection, by `performServerHandshake`, because an
 * http2.Server refuses sockets whose ALPN is absent or `istio`, both of which sidecars send.
 */
import { constants, performServerHandshake, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2'
import type { Duplex } from 'node:stream'
import type { Settings } from '../model/settings.ts'
import type { Downstream, DownstreamEvents } from './downstream.ts'
import { Http2Downstream } from './http2-downstream.ts'

export type Http2Handlers = {
  readonly request: (downstream: Downstream) => DownstreamEvents | null
  /** The session broke the protocol, or was cut. `streams`: how many requests it carried. */
  readonly failed: (code: string, streams: number) => void
}

/** Envoy's edge limits: 100 streams, 64 KiB stream window (threats D1). */
const MAX_STREAMS = 100
const STREAM_WINDOW = 65536

/** Envoy's stream idle timeout on Istio gateways (behaviour §10.1), milliseconds. */
const LIVENESS_MS = 300_000
/** How long a GOAWAY may take to be read, milliseconds. */
const DELAYED_CLOSE_MS = 1000

export type Http2Connection = {
  readonly session: ServerHttp2Session
  /** Sends GOAWAY, lets streams finish, and does not wait for a caller who never closes after that. */
  readonly leave: () => void
}

/**
 * Speaks HTTP/2 on `socket` until it closes.
 * @param livenessMs how long a caller with open streams may leave a PING unanswered
 */
export function serveHttp2(
  socket: Duplex,
  limits: Settings['http'],
  handlers: Http2Handlers,
  livenessMs: number = LIVENESS_MS,
): Http2Connection {
  const session = performServerHandshake(socket, {
    maxHeaderListPairs: limits.maxHeaders + 8,
    maxSessionInvalidFrames: 100,
    maxSessionRejectedStreams: 100,
    maxOutstandingPings: 10,
    maxSettings: 32,
    // Repeated fields of an answer are passed on as they came; by default Node throws for some names.
    strictSingleValueFields: false,
    settings: {
      maxConcurrentStreams: MAX_STREAMS,
      initialWindowSize: STREAM_WINDOW,
      maxHeaderListSize: limits.maxHeaderBytes,
      enablePush: false,
      // WebSocket over a stream (RFC 8441).
      enableConnectProtocol: true,
    },
  })
  let streams = 0
  let open = 0
  let leaving = false
  const endWhenQuiet = () => {
    if (open > 0) return
    if (leaving) setTimeout(() => session.destroy(), DELAYED_CLOSE_MS).unref()
    else idle.refresh()
  }
  const leave = () => {
    leaving = true
    session.close()
    endWhenQuiet()
  }
  // Not `session.setTimeout`: Node 24 does not clear that timer when the session is destroyed, so that every session of
  // the last hour stayed in memory.
  const idle = setTimeout(() => {
    if (open === 0) leave()
  }, limits.idleTimeoutMs)
  idle.unref()
  session.once('close', () => clearTimeout(idle))
  endWhenDead(session, () => open > 0, livenessMs)
  session.on('stream', (stream: ServerHttp2Stream, headers, flags: number, raw: string[]) => {
    streams += 1
    open += 1
    stream.on('error', () => {})
    stream.once('close', () => {
      open -= 1
      endWhenQuiet()
    })
    const downstream = new Http2Downstream(
      session,
      stream,
      raw,
      (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0,
      headers[':method'] ?? '',
    )
    const events = handlers.request(downstream)
    // Doomed: nothing on it is a request any more, and a stream without an answer would wait for ever.
    if (events === null) return session.destroy(undefined, constants.NGHTTP2_CANCEL)
    const onClose = () => events.onClose(downstream.complete)
    stream.once('close', onClose)
    stream.once('aborted', () => {
      stream.off('close', onClose)
      events.onClose(false)
      // With NO_ERROR, Node would keep the stream until somebody has read the body that came before the reset.
      process.nextTick(() => stream.destroy())
    })
  })
  session.on('error', (error: NodeJS.ErrnoException) => handlers.failed(error.code ?? error.message, streams))
  return { session, leave }
}

/**
 * Asks a caller with open streams for a sign of life, and ends the session when none comes until the next time.
 * Node 24 can lose a TLS connection whose peer vanishes while answers to control frames are queued for it: the write
 * that failed is never reported and reading stays stopped, so no event says that the peer is gone.
 */
function endWhenDead(session: ServerHttp2Session, isBusy: () => boolean, intervalMs: number): void {
  let waiting = false
  const timer = setInterval(() => {
    if (session.destroyed) return
    if (waiting) return session.destroy(undefined, constants.NGHTTP2_CANCEL)
    if (!isBusy()) return
    waiting = session.ping(() => {
      waiting = false
    })
  }, intervalMs)
  timer.unref()
  session.once('close', () => clearInterval(timer))
}
