/**
 * A request that has changed its protocol: copies both ways until one side has had enough, is judged again after a reload,
 * counts as a tunnel, and ends with the request's one record (response code 101).
 */
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { Splice, type SpliceEnd } from '../forward/splice.ts'
import type { TokenRuleModel } from '../model/token.ts'
import type { ExchangeRecord } from '../observe/record.ts'
import type { LiveTunnel } from '../runtime/gate.ts'
import { judgeHttp } from '../runtime/judge.ts'
import type { Snapshot } from '../runtime/snapshot.ts'
import type { OpenTunnel, TunnelClosing } from '../runtime/tunnels.ts'
import type { Carried } from './carriage.ts'
import type { Judged } from './judged.ts'
import { attributesOf, serverOf } from './server-of.ts'

export class Upgrade implements OpenTunnel, LiveTunnel {
  readonly #exchange: Carried
  readonly #judged: Judged
  readonly #splice: Splice
  /** The caller's side is cut by us, whatever it says of that. */
  #resets = false

  /** Starts copying. Both sides are open, keep half-open and have error listeners. */
  constructor(exchange: Carried, judged: Judged, down: Duplex, up: Socket) {
    this.#exchange = exchange
    this.#judged = judged
    const { environment, http } = exchange
    const { idleTimeoutMs, maxDurationMs } = judged.snapshot.settings.tunnels
    // Before the copy does: an HTTP/2 stream that is destroyed without more ends as if nothing had happened.
    up.once('error', () => this.#reset())
    this.#splice = new Splice(down, up, { idleMs: idleTimeoutMs, maxMs: maxDurationMs }, (why) => this.#ended(why))
    environment.tunnels.add(this)
    http.upgrades.add(this)
    exchange.gates.opened(this)
  }

  forbiddenBy = (snapshot: Snapshot): boolean =>
    !this.#exchange.finished && isForbidden(this.#exchange, this.#judged, snapshot)

  close = (reason: TunnelClosing, details?: string): void => {
    const { finished, record } = this.#exchange
    if (finished) return
    record.reason = reason
    if (reason === 'rate_limited') record.flags.push('RL')
    record.responseCodeDetails =
      details ?? `downstream_local_disconnect(${reason === 'draining' ? 'drain_deadline' : reason})`
    this.#reset()
    this.#splice.end('closed')
  }

  get record(): ExchangeRecord {
    return this.#exchange.record
  }

  get bytesUp(): number {
    return this.#splice.bytesUp
  }

  get bytesDown(): number {
    return this.#splice.bytesDown
  }

  /** The caller's side was cut, which its stream need not say by an error (HTTP/2). */
  cut(): void {
    if (!this.#resets) this.#splice.end('down-failed')
  }

  #reset(): void {
    this.#resets = true
    this.#exchange.downstream.reset()
  }

  #ended(why: SpliceEnd): void {
    const { environment, http, record } = this.#exchange
    record.bytesReceived = this.#splice.bytesUp
    record.bytesSent = this.#splice.bytesDown
    environment.tunnels.delete(this)
    const complete = this.#note(why)
    this.#exchange.ended(complete)
    http.upgrades.delete(this)
  }

  /** How the copy ended, in Envoy's words for streams. False: it was cut, by the caller unless the record says otherwise. */
  #note(why: SpliceEnd): boolean {
    const { record } = this.#exchange
    if (record.reason !== null || why === 'down-failed') return false
    if (why === 'up-failed') {
      record.flags.push('UC')
      record.responseCodeDetails = 'upstream_reset_after_response_started{connection_termination}'
      return false
    }
    if (why === 'idle') {
      record.flags.push('SI')
      record.responseCodeDetails = 'stream_idle_timeout'
    } else if (why === 'max-duration') {
      record.flags.push('DT')
      record.responseCodeDetails = 'max_duration_timeout'
    }
    return true
  }
}

/** True when the request would be refused now. Where it would be answered otherwise, or led elsewhere, it stays. */
export function isForbidden({ http }: Pick<Carried, 'http'>, { attributes }: Judged, snapshot: Snapshot): boolean {
  const server = serverOf(http, snapshot)
  if (server === 'misdirected' || server === 'untrusted') return true
  // Its token was good when it asked, which is when tokens are looked at; it counts while somebody vouches for its issuer.
  const { token } = attributes
  const vouched = ({ issuer }: TokenRuleModel) => issuer === null || issuer === token?.claims['iss']
  const again = attributesOf(http, attributes.http, snapshot.model.tokenRules.some(vouched) ? token : null)
  return judgeHttp(snapshot.judge, server.table, again, Math.random()).refusal !== null
}
