/**
 * Opens one connection to exactly the address that was judged: TCP, and TLS on top when the cluster originates it.
 * Hands over a socket on which everything is verified, so that no request byte can reach a server that was not.
 */
import { connect, type Socket } from 'node:net'
import { type SecureContext, type TLSSocket, connect as tlsConnect } from 'node:tls'
import type { UpstreamFailure } from './forwarder.ts'
import { verifyServerName } from './server-identity.ts'
import { CONNECT_TIMEOUT, connectFailure, errorCode, type TlsFault, tlsFailure, tlsFault } from './transport-failure.ts'

export type DialTls = {
  readonly context: SecureContext
  /** Sent as SNI; null: none (IP literals may not be sent, RFC 6066 §3). Never from a request header. */
  readonly serverName: string | null
  /** The server must carry one of these. */
  readonly names: readonly string[]
  /** `insecureSkipVerify`, spelt out in configuration. */
  readonly skipVerify: boolean
}

export type DialTarget = {
  readonly address: string
  readonly port: number
  /** Covers TCP and the TLS handshake. Milliseconds. */
  readonly connectTimeoutMs: number
  readonly tls: DialTls | null
}

export type DialFailure = {
  readonly failure: UpstreamFailure
  readonly cause: 'tcp' | 'timeout' | TlsFault
}

export type DialHandlers = {
  readonly onReady: (socket: Socket) => void
  readonly onFailed: (failure: DialFailure) => void
  /** A TLS session to resume on the next connection to the same pool. */
  readonly onSession: (session: Buffer) => void
}

/** `cancel()` is true when it ended an attempt that was still under way. */
export type Dialling = { cancel(): boolean }

const KEEP_ALIVE_MS = 30_000

/**
 * Exactly one of `onReady` and `onFailed` is called, later, unless `cancel()` comes first. `session`: of an earlier
 * connection of the same pool, or null. From here on the socket always has an `error` listener.
 */
export function dial(target: DialTarget, session: Buffer | null, handlers: DialHandlers): Dialling {
  const { address, port, tls } = target
  let settled = false
  let connected = false
  const socket = tls === null ? connect({ host: address, port, lookup: neverLookUp }) : secure(target, tls, session)
  socket.setNoDelay(true)
  socket.setKeepAlive(true, KEEP_ALIVE_MS)

  const timer = setTimeout(() => fail({ failure: CONNECT_TIMEOUT, cause: 'timeout' }), target.connectTimeoutMs)
  const settle = (): boolean => {
    if (settled) return false
    settled = true
    clearTimeout(timer)
    return true
  }
  const fail = (failure: DialFailure): void => {
    if (!settle()) return
    socket.destroy()
    handlers.onFailed(failure)
  }
  const broken = (code: string): DialFailure =>
    connected && tls !== null
      ? { failure: tlsFailure(code), cause: tlsFault(code) }
      : { failure: connectFailure(code), cause: 'tcp' }

  socket.on('error', (error) => fail(broken(errorCode(error))))
  socket.on('close', () => fail(broken('ECONNRESET')))
  socket.once('connect', () => {
    connected = true
    if (tls === null && settle()) handlers.onReady(socket)
  })
  if (tls !== null) {
    const secured = socket as TLSSocket
    secured.on('session', handlers.onSession)
    // Emitted only after the chain and `checkServerIdentity` have passed (or verification is off).
    secured.once('secureConnect', () => {
      if (settle()) handlers.onReady(socket)
    })
  }
  return {
    cancel: () => {
      if (!settle()) return false
      socket.destroy()
      return true
    },
  }
}

function secure(target: DialTarget, tls: DialTls, session: Buffer | null): TLSSocket {
  return tlsConnect({
    host: target.address,
    port: target.port,
    lookup: neverLookUp,
    secureContext: tls.context,
    rejectUnauthorized: !tls.skipVerify,
    checkServerIdentity: (_host, certificate) => verifyServerName(certificate.raw, tls.names),
    ...(tls.serverName === null ? {} : { servername: tls.serverName }),
    ...(session === null ? {} : { session }),
  })
}

/** Addresses are judged before they come here; if one needed a look-up, it was not an address. */
function neverLookUp(
  host: string,
  _options: unknown,
  callback: (error: Error, address: string, family: number) => void,
) {
  callback(Object.assign(new Error(`not an IP address: ${host}`), { code: 'EINVAL' }), '', 0)
}
