/**
 * Opens one connection to exactly the address that was judged: TCP, and TLS on top when the cluster originates it.
 * Hands over a socket on which everything is verified, so that no request byte can reach a server that was not.
 */
import { connect, type OnReadOpts, type Socket, type TcpSocketConnectOpts } from 'node:net'
import type { Duplex } from 'node:stream'
import { type SecureContext, type TLSSocket, connect as tlsConnect } from 'node:tls'
import { openTunnel, type TunnelTarget } from './connect-tunnel.ts'
import type { UpstreamFailure } from './forwarder.ts'
import { verifyServerName } from './server-identity.ts'
import {
  CONNECT_TIMEOUT,
  connectFailure,
  errorCode,
  type TlsFault,
  tlsFailure,
  tlsFault,
  tunnelFailure,
} from './transport-failure.ts'

export type DialTls = {
  readonly context: SecureContext
  /** Sent as SNI; null: none (IP literals may not be sent, RFC 6066 §3). Never from a request header. */
  readonly serverName: string | null
  /** The server must carry one of these. */
  readonly names: readonly string[]
  /** `insecureSkipVerify`, spelt out in configuration. */
  readonly skipVerify: boolean
  /** Protocols offered, the preferred one first; null: ALPN is not spoken. */
  readonly alpn: readonly string[] | null
}

export type DialTarget = {
  readonly address: string
  readonly port: number
  /** Covers TCP, the TLS handshake and the opening of a tunnel. Milliseconds. */
  readonly connectTimeoutMs: number
  /** Silence after which TCP asks whether the other end is still there, milliseconds (at least 1000). */
  readonly keepAliveMs: number
  /** Sent before anything else, TLS included (proxy-protocol.ts); null: nothing is. */
  readonly preface: Buffer | null
  readonly tls: DialTls | null
}

export type DialFailure = {
  readonly failure: UpstreamFailure
  readonly cause: 'tcp' | 'timeout' | 'tunnel' | TlsFault
}

export type DialHandlers = {
  /** `stream`: the socket itself, or what a tunnel through it carries. */
  readonly onReady: (socket: Socket, stream: Duplex) => void
  readonly onFailed: (failure: DialFailure) => void
  /** A TLS session to resume on the next connection to the same pool. */
  readonly onSession: (session: Buffer) => void
}

/** Who alone reads the socket, where Node lets anybody: bytes go to it without becoming a stream. */
export type SocketReader = {
  /** For plain TCP. */
  connect(options: TcpSocketConnectOpts): Socket
  /** For TLS that dials by itself; null: not of this one's business. */
  readonly onread: OnReadOpts | null
}

/** `cancel()` is true when it ended an attempt that was still under way. */
export type Dialling = { cancel(): boolean }

/**
 * Exactly one of `onReady` and `onFailed` is called, later, unless `cancel()` comes first. `session`: of an earlier
 * connection of the same pool, or null. `reader`: who alone may read the socket, unless TLS is put on one that is there
 * already (`preface`); null: anyone may. `tunnel`: what the other end, a proxy, is asked for; null: it is the upstream itself.
 * From here on the socket always has an `error` listener.
 */
export function dial(
  target: DialTarget,
  session: Buffer | null,
  handlers: DialHandlers,
  reader: SocketReader | null,
  tunnel: TunnelTarget | null = null,
): Dialling {
  const { address, port, tls, preface } = target
  let settled = false
  let stage: 'tcp' | 'tls' | 'tunnel' = 'tcp'
  let socket: Socket

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
  const broken = (code: string): DialFailure => {
    if (stage === 'tls') return { failure: tlsFailure(code), cause: tlsFault(code) }
    if (stage === 'tunnel') return { failure: tunnelFailure(code), cause: 'tunnel' }
    return { failure: connectFailure(code), cause: 'tcp' }
  }
  const watch = (watched: Socket): void => {
    watched.on('error', (error) => fail(broken(errorCode(error))))
    watched.on('close', () => fail(broken('ECONNRESET')))
  }
  const ready = (): void => {
    if (tunnel === null) {
      if (settle()) handlers.onReady(socket, socket)
      return
    }
    stage = 'tunnel'
    openTunnel(socket, tunnel, {
      onOpen: (stream) => {
        if (settle()) handlers.onReady(socket, stream)
      },
      onRefused: (why) => fail({ failure: tunnelFailure(why), cause: 'tunnel' }),
    })
  }
  const secure = (profile: DialTls, over: { readonly socket: Socket } | { readonly host: string }): TLSSocket => {
    const secured = startTls(profile, session, reader?.onread ?? null, { port, ...over })
    secured.on('session', handlers.onSession)
    // Emitted only after the chain and `checkServerIdentity` have passed (or verification is off).
    secured.once('secureConnect', ready)
    return secured
  }

  // Node's TLS dials by itself, unless something has to be said before it.
  const to = { host: address, port, lookup: neverLookUp }
  if (tls !== null && preface === null) socket = secure(tls, { host: address })
  else socket = reader === null || tls !== null ? connect(to) : reader.connect(to)
  socket.setNoDelay(true)
  socket.setKeepAlive(true, target.keepAliveMs)
  watch(socket)
  socket.once('connect', () => {
    if (settled) return
    if (preface !== null) socket.write(preface)
    if (tls === null) return ready()
    stage = 'tls'
    if (preface === null) return
    socket = secure(tls, { socket })
    watch(socket)
  })
  return {
    cancel: () => {
      if (!settle()) return false
      socket.destroy()
      return true
    },
  }
}

function startTls(
  tls: DialTls,
  session: Buffer | null,
  onread: OnReadOpts | null,
  over: { readonly port: number } & ({ readonly socket: Socket } | { readonly host: string }),
): TLSSocket {
  return tlsConnect({
    ...over,
    lookup: neverLookUp,
    secureContext: tls.context,
    rejectUnauthorized: !tls.skipVerify,
    checkServerIdentity: (_host, certificate) => verifyServerName(certificate.raw, tls.names),
    ...(tls.serverName === null ? {} : { servername: tls.serverName }),
    ...(tls.alpn === null ? {} : { ALPNProtocols: [...tls.alpn] }),
    ...(session === null ? {} : { session }),
    ...(onread === null || 'socket' in over ? {} : { onread }),
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
