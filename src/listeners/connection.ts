/**
 * One accepted TCP connection, peeled layer by layer: sniff → choose the server → terminate TLS → who is it → sniff
 * what is inside → HTTP/1.1 or HTTP/2. Whatever ends before the first request leaves exactly one record here.
 */
import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { type Connection, NO_PEER, type Peer } from '../core/attributes.ts'
import type { Flag } from '../core/flags.ts'
import type { Reason } from '../core/reasons.ts'
import type { ListenerStats } from '../core/stats.ts'
import { peerOf } from '../identity/peer.ts'
import { newRecord } from '../observe/record.ts'
import { currentServer, type ServerPlan } from '../runtime/snapshot.ts'
import type { OpenTunnel } from '../runtime/tunnels.ts'
import { type ClientHello, MAX_CLIENT_HELLO } from './client-hello.ts'
import { describeSocket } from './describe-socket.ts'
import type { Environment, HttpConnection } from './environment.ts'
import { Exchanges } from './exchanges.ts'
import { type FirstBytes, firstBytesReader } from './first-bytes.ts'
import { serveHttp2 } from './http2.ts'
import { Occupied } from './occupied.ts'
import { reidentify } from './reidentify.ts'
import { sniff } from './sniff.ts'
import { startExchange } from './start-exchange.ts'
import { startTunnel, type TunnelStart } from './tunnel.ts'

/** How long a caller may take to say what it speaks (contract §4), milliseconds. */
const FIRST_BYTES_MS = 5000

/** HTTP/1.1 sockets handed to the shared server, so that its callbacks find their connection again. */
export const httpConnections = new WeakMap<Socket, HttpConnection>()

/** Takes over an accepted socket. Never throws; the socket always has an error listener. */
export function acceptConnection(
  environment: Environment,
  stats: ListenerStats,
  gatewayPort: number,
  raw: Socket,
): void {
  const accepted = new Accepted(environment, stats, gatewayPort, raw)
  accepted.begin()
}

/** A terminated outer layer, and how its server was chosen. */
type OuterTls = { readonly sni: string | null; readonly mesh: boolean; readonly socket: TLSSocket }

class Accepted {
  readonly #environment: Environment
  readonly #stats: ListenerStats
  readonly #gatewayPort: number
  readonly #raw: Socket
  #connection: Connection
  readonly #open: Occupied
  /** True once requests (or a record) speak for this connection. */
  #settled = false

  constructor(environment: Environment, stats: ListenerStats, gatewayPort: number, raw: Socket) {
    this.#environment = environment
    this.#stats = stats
    this.#gatewayPort = gatewayPort
    this.#raw = raw
    this.#connection = describeSocket(raw, gatewayPort)
    // Finish what runs: before there are requests, nothing does. HTTP/1.1 is told by its server.
    this.#open = new Occupied(environment.connections, raw, () => {
      if (!this.#settled) raw.destroy()
    })
  }

  begin(): void {
    const raw = this.#raw
    raw.on('error', () => {})
    raw.setNoDelay(true)
    this.#stats.downstream_cx_total += 1
    this.#stats.downstream_cx_active += 1
    raw.once('close', () => {
      this.#stats.downstream_cx_active -= 1
      this.#stats.downstream_cx_destroy += 1
    })
    const listener = this.#environment.active().listeners.get(this.#gatewayPort)
    if (listener === undefined) return void raw.destroy()
    const { plaintext } = listener
    // Raw TCP is judged and dialled at once: the other side may be the one to speak first (contract §4).
    if (plaintext?.model.application === 'tunnel') return this.#tunnel(raw, plaintext, { sni: undefined, outer: null })
    sniff<FirstBytes>(raw, FIRST_BYTES_MS, MAX_CLIENT_HELLO, firstBytesReader(false), (outcome) => {
      if (outcome.kind !== 'decided') {
        if (outcome.kind === 'timeout') this.#stats.downstream_pre_cx_timeout += 1
        if (outcome.bytes === 0) return void raw.destroy()
        if (outcome.kind === 'closed')
          return this.#end(
            this.#environment.draining() ? 'draining' : null,
            'DC',
            'closed before a ClientHello or request',
          )
        return this.#end('protocol_mismatch', 'NR', `no ClientHello and no request: ${outcome.kind}`)
      }
      const first = outcome.value
      if (first.kind === 'broken') return this.#end('protocol_mismatch', 'DPE', first.why)
      // A port speaks one or the other (config/gateways.ts): no server could be found by this SNI.
      if (first.kind === 'hello' && plaintext !== null)
        return this.#end('protocol_mismatch', 'NR', 'TLS where this port speaks plaintext HTTP')
      if (first.kind === 'hello') return this.#tls(first.hello)
      if (plaintext !== null) return this.#http(raw, plaintext, null, first.kind === 'h2')
      this.#end('protocol_mismatch', 'NR', 'plaintext where this port speaks TLS only')
    })
  }

  #tls(hello: Extract<ClientHello, { kind: 'found' }>): void {
    const listener = this.#environment.active().listeners.get(this.#gatewayPort)
    const mesh =
      hello.alpn.some((protocol) => protocol.startsWith('istio')) || hello.sni?.startsWith('outbound_') === true
    const server = listener?.select(hello.sni, mesh) ?? null
    this.#connection = { ...this.#connection, tls: { sni: hello.sni, alpn: null, version: '', cipher: '' } }
    if (server === null) {
      this.#stats.no_filter_chain_match += 1
      const port = `Gateway port ${this.#gatewayPort}`
      this.#environment.warn(
        `no server on ${port} claims SNI ${hello.sni ?? '(none)'}: add it, or '*', to the hosts of a Gateway server on that port`,
        { sni: hello.sni },
      )
      return this.#end(hello.sni === null ? 'no_sni' : 'no_server_for_sni', 'NR', 'filter_chain_not_found')
    }
    if (server.material === null) return this.#routed(this.#raw, server, hello, null)
    this.#environment.terminator(server).accept(this.#raw, {
      failed: (code) => {
        this.#stats.ssl_connection_error += 1
        this.#end(null, code === 'ECONNRESET' ? 'DC' : null, `TLS_error:${code}`)
      },
      secured: (socket) => this.#secured(socket, server, hello.sni, mesh),
    })
  }

  #secured(socket: TLSSocket, server: ServerPlan, sni: string | null, mesh: boolean): void {
    this.#stats.ssl_handshake += 1
    const alpn = typeof socket.alpnProtocol === 'string' ? socket.alpnProtocol : null
    let peer: Peer = NO_PEER
    if (server.peerRules !== null) {
      const verdict = peerOf(socket, server.peerRules, Date.now())
      if ('refuse' in verdict) {
        this.#stats[verdict.counter] += 1
        return this.#end(verdict.refuse, null, verdict.detail, socket)
      }
      peer = verdict.peer
    }
    this.#connection = {
      ...this.#connection,
      peer,
      tls: { sni, alpn, version: socket.getProtocol() ?? '', cipher: socket.getCipher()?.name ?? '' },
    }
    const tls = { sni, mesh, socket }
    const takesHttp = server.model.application === 'http'
    if (takesHttp && alpn === 'h2') return this.#http(socket, server, tls, true)
    if (takesHttp && alpn === 'http/1.1') return this.#http(socket, server, tls, false)
    // Sidecars that negotiated `istio` or nothing may speak either version, or wrap the application's own TLS.
    sniff<FirstBytes>(socket, FIRST_BYTES_MS, MAX_CLIENT_HELLO, firstBytesReader(!takesHttp), (outcome) => {
      if (outcome.kind === 'decided') return this.#inside(server, tls, outcome.value)
      // Silence on a server of opaque bytes: the other side speaks first. A ClientHello that has begun is not silence: its
      // name would never be judged.
      if (!takesHttp && outcome.kind === 'timeout' && outcome.bytes === 0)
        return this.#tunnel(socket, server, { sni: undefined, outer: { sni } }, tls)
      // A connection made in advance and never used: as with the other versions, nothing to tell.
      if (outcome.bytes === 0) return void this.#raw.destroy()
      const what = takesHttp ? 'request' : 'whole ClientHello'
      if (outcome.kind !== 'closed') return this.#end('protocol_mismatch', 'DPE', `no ${what}: ${outcome.kind}`, socket)
      this.#end(this.#environment.draining() ? 'draining' : null, 'DC', `no ${what}: closed`, socket)
    })
  }

  /** What the mTLS holds: requests, the application's own TLS, or other bytes. */
  #inside(server: ServerPlan, tls: OuterTls, first: FirstBytes): void {
    const { socket, sni } = tls
    if (first.kind === 'broken') return this.#end('protocol_mismatch', 'DPE', first.why, socket)
    if (first.kind === 'hello') {
      if (server.tunnels !== null) return this.#routed(socket, server, first.hello, tls)
      return this.#end('protocol_mismatch', 'DPE', 'TLS inside mTLS on an HTTP server', socket)
    }
    if (server.model.application === 'http') return this.#http(socket, server, tls, first.kind === 'h2')
    this.#tunnel(socket, server, { sni: undefined, outer: { sni } }, tls)
  }

  /** The application's own TLS, routed by the name it shows: an encrypted one would lead somewhere else than was judged. */
  #routed(
    socket: Socket,
    server: ServerPlan,
    hello: Extract<ClientHello, { kind: 'found' }>,
    tls: OuterTls | null,
  ): void {
    if (hello.ech === true) return this.#end('protocol_mismatch', 'DPE', 'encrypted_client_hello', socket)
    this.#tunnel(socket, server, { sni: hello.sni, outer: tls === null ? null : { sni: tls.sni } }, tls)
  }

  #tunnel(
    socket: Socket,
    server: ServerPlan,
    names: Pick<TunnelStart, 'sni' | 'outer'>,
    tls: OuterTls | null = null,
  ): void {
    this.#settled = true
    // A FIN is passed on as one; the other direction goes on.
    socket.allowHalfOpen = true
    this.#raw.allowHalfOpen = true
    let { trustKey, peerRules } = server
    let connection = this.#connection
    const chosenBy =
      tls === null ? (this.#connection.tls === null ? null : { sni: this.#connection.tls.sni, mesh: false }) : tls
    let tunnel: Pick<OpenTunnel, 'close'> | null = null
    let ended = false
    tunnel = startTunnel(this.#environment, {
      ...names,
      connection,
      stats: this.#stats,
      gatewayPort: this.#gatewayPort,
      socket,
      serverUnder: (snapshot) => {
        const next = currentServer(snapshot, this.#gatewayPort, chosenBy)
        // What is terminated now would have shown a caller; what is passed through now would have shown none.
        if (next === null || (next.material === null) !== (tls === null)) return null
        if (next.trustKey === trustKey || tls === null) return next
        const again = reidentify(tls.socket, connection, peerRules, next)
        if (again === null) return null
        connection = again
        trustKey = next.trustKey
        peerRules = next.peerRules
        return next
      },
      onEnd: () => {
        ended = true
        if (tunnel !== null) this.#open.delete(tunnel)
      },
    })
    if (!ended) this.#open.add(tunnel)
  }

  #http(socket: Socket, server: ServerPlan, tls: OuterTls | null, h2: boolean): void {
    this.#settled = true
    // HTTP has no half-open connections: a caller that ends its side is gone.
    socket.allowHalfOpen = false
    this.#raw.allowHalfOpen = false
    const environment = this.#environment
    const http: HttpConnection = {
      connection: this.#connection,
      stats: this.#stats,
      gatewayPort: this.#gatewayPort,
      tls: tls === null ? null : { sni: tls.sni, mesh: tls.mesh },
      trustKey: server.trustKey,
      peerRules: server.peerRules,
      reidentify: (plan) => (tls === null ? null : reidentify(tls.socket, http.connection, http.peerRules, plan)),
      exchanges: new Exchanges(),
      upgrades: this.#open,
      poisoned: false,
      whenIdle: null,
    }
    this.#open.exchanges = http.exchanges
    this.#raw.once('close', () => {
      for (const exchange of [...http.exchanges]) exchange.connectionClosed()
    })
    const { http: limits } = environment.active().settings
    if (!h2) {
      httpConnections.set(socket, http)
      environment.http1.accept(socket, this.#raw)
      return
    }
    const { session, leave } = serveHttp2(socket, limits, {
      request: (downstream) => startExchange(environment, http, downstream),
      failed: (code, streams) => {
        // A protocol error is the caller's fault; anything else is a connection that went away.
        if (streams > 0) return
        if (code.startsWith('ERR_HTTP2')) this.#end('bad_request', 'DPE', code)
        else this.#end(null, 'DC', code)
      },
    })
    this.#open.drain = leave
    session.once('close', () => this.#raw.destroy())
    if (environment.draining()) leave()
  }

  /** Closes the connection and leaves its one record. */
  #end(reason: Reason | null, flag: Flag | null, detail: string, socket: Socket = this.#raw): void {
    socket.destroy()
    this.#raw.destroy()
    if (reason !== null) this.#environment.refusedConnection(reason)
    const record = newRecord('tcp', this.#connection, this.#connection.openedAt)
    record.durationMs = Date.now() - this.#connection.openedAt
    if (flag !== null) record.flags.push(flag)
    record.reason = reason
    if (detail === 'filter_chain_not_found') record.responseCodeDetails = detail
    else record.connectionTerminationDetails = detail.replaceAll(/\s/g, '_')
    this.#environment.finish(record)
  }
}
