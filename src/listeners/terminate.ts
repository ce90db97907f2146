/**
 * TLS termination: one never-listening `tls.Server` per TLS configuration, fed with sockets whose ClientHello was
 * peeked at. Certificates are requested but judged after the handshake, by identity/peer.ts, so that the reason can
 * be logged; not a byte of the request is read before that. A changed configuration (a new CA above all) is a new
 * server with new ticket keys: no session of the old trust can be resumed (models finding 7).
 */
import type { Socket } from 'node:net'
import tls, { type TLSSocket } from 'node:tls'
import type { TlsMaterial } from '../identity/credentials.ts'
import { serverTlsOptions } from '../identity/server-options.ts'
import type { ServerTls } from '../model/listener.ts'

/** Envoy's transport socket connect timeout on Istio gateways (behaviour §10.1), milliseconds. */
const HANDSHAKE_TIMEOUT_MS = 15_000

/** Istio's sidecars offer these; what we pick, in order. `istio-peer-exchange` is never picked: it prepends metadata (threats H1). */
const ALPN_PREFERENCE = ['h2', 'http/1.1', 'istio', 'istio-h2', 'istio-http/1.1'] as const

export type HandshakeHandlers = {
  readonly secured: (socket: TLSSocket) => void
  /** Called at most once, never after `secured`. `code` is OpenSSL's or Node's. */
  readonly failed: (code: string) => void
}

export type Terminator = { accept(raw: Socket, handlers: HandshakeHandlers): void; close(): void }

/** Our choice from the caller's ALPN list; undefined (a fatal alert) when nothing fits. */
export function chooseAlpn(offered: readonly string[]): string | undefined {
  return ALPN_PREFERENCE.find((protocol) => offered.includes(protocol))
}

/** @throws when OpenSSL refuses the material (bad key, unknown cipher …): a failed reload, never a half-open server. */
export function createTerminator(model: ServerTls, material: TlsMaterial): Terminator {
  const pending = new Map<string, HandshakeHandlers>()
  const server = tls.createServer({
    ...serverTlsOptions(model, material),
    handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
    ALPNCallback: ({ protocols }) => chooseAlpn(protocols),
  })
  server.on('secureConnection', (socket: TLSSocket) => {
    socket.on('error', () => {})
    // Half-closing is the caller's right again, see accept().
    socket.allowHalfOpen = true
    const key = endpointKey(socket)
    const handlers = pending.get(key)
    pending.delete(key)
    if (handlers === undefined) socket.destroy()
    else handlers.secured(socket)
  })
  server.on('tlsClientError', (error: NodeJS.ErrnoException, socket: TLSSocket) => {
    const key = endpointKey(socket)
    const handlers = pending.get(key)
    if (pending.delete(key)) handlers?.failed(error.code ?? 'TLS')
    socket.destroy()
  })
  return {
    accept(raw, handlers) {
      const key = endpointKey(raw)
      // The caller came again from the same endpoint before its end was noticed here: the first one is over.
      pending.get(key)?.failed('ECONNRESET')
      pending.set(key, handlers)
      // The TLS socket takes this over: a caller who hangs up in the middle of the handshake is gone now, not when
      // the handshake times out.
      raw.allowHalfOpen = false
      raw.once('close', () => {
        if (pending.get(key) !== handlers) return
        pending.delete(key)
        handlers.failed('ECONNRESET')
      })
      server.emit('connection', raw)
    },
    close: () => void server.close(),
  }
}

/**
 * The TLS socket reports its raw socket's endpoints (models finding 10). Only all four are unique while it is open: one
 * remote endpoint may reach two of our addresses.
 */
function endpointKey(socket: Socket): string {
  return `${socket.remoteAddress}|${socket.remotePort}|${socket.localAddress}|${socket.localPort}`
}
