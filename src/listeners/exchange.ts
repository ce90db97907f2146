/**
 * One request from first byte to record, in the order of contract §4 and nowhere else: normalise → authorize →
 * registered → route → fault → CORS → the route's own answer, or carry → record. Pins one snapshot at the start.
 * Whatever happens, `#finish` hands over exactly one record.
 */
import type { Readable } from 'node:stream'
import type { HeaderList } from '../core/attributes.ts'
import type { Flag } from '../core/flags.ts'
import type { Refusal } from '../core/refusal.ts'
import { targetText } from '../core/request-target.ts'
import { type ExchangeRecord, newRecord } from '../observe/record.ts'
import { abortRefusal, corsOf, faultOf } from '../runtime/interposed.ts'
import { type HttpRequestAttributes, type Judgement, judgeHttp } from '../runtime/judge.ts'
import { type RouteAnswer, replaceFields, routeAnswer } from '../runtime/outgoing.ts'
import type { Carriage, Carried } from './carriage.ts'
import { countDecision } from './count-decision.ts'
import { describeCut, describeRequest } from './describe.ts'
import { dispatch } from './dispatch.ts'
import type { Downstream, DownstreamEvents } from './downstream.ts'
import type { Environment, HttpConnection } from './environment.ts'
import { Gatekeeper } from './gatekeeper.ts'
import { ExchangeFacts } from './header-facts.ts'
import type { Judged } from './judged.ts'
import { asGrpc, contentOf, cutShort, refusalRow, renderRefusal, SERVER } from './reply.ts'
import { type Asked, askedOf, attributesOf } from './server-of.ts'
import { MAX_TIMER_MS } from './timer.ts'

const NO_FIELDS: HeaderList = []

export class Exchange implements DownstreamEvents, Carried {
  readonly environment: Environment
  readonly http: HttpConnection
  readonly downstream: Downstream
  readonly record: ExchangeRecord
  readonly startedAt: number
  finished = false
  #carriage: Carriage | null = null
  /** A fault's delay, under way. */
  #delay: NodeJS.Timeout | null = null
  #delayed = false
  #corsFields = NO_FIELDS
  readonly gates = new Gatekeeper(this)
  /** Its turn has come: it is not waiting behind another. */
  started = false

  constructor(environment: Environment, http: HttpConnection, downstream: Downstream) {
    this.environment = environment
    this.http = http
    this.downstream = downstream
    this.record = newRecord('http', http.connection, Date.now())
    this.startedAt = performance.now()
    http.stats.downstream_rq_active += 1
    describeRequest(this.record, downstream)
    const { body } = downstream
    if (body === null) this.record.requestDurationMs = 0
    else body.once('end', () => (this.record.requestDurationMs = Math.round(performance.now() - this.startedAt)))
  }

  /** Judges and carries, once. */
  run(): void {
    if (this.started || this.finished) return
    this.started = true
    this.http.stats.downstream_rq_total += 1
    try {
      this.#judge()
    } catch (error) {
      this.crash(error)
    }
  }

  /** A mistake of ours costs this request, not all the others. */
  crash(error: unknown): void {
    const { downstream, environment, record } = this
    const { message, stack } = error instanceof Error ? error : new Error(String(error))
    environment.warn(`a request was reset: ${message}`, { request_id: record.requestId, stack })
    record.flags.push('LR')
    record.responseCodeDetails = 'internal_error'
    downstream.reset()
  }

  /** By what holds now: a pipelined request when its turn comes, a delayed one when its delay is over. */
  #judge(): void {
    const snapshot = this.environment.active()
    const asked = askedOf(this.http, this.downstream, snapshot, this.environment.instance)
    if (asked === 'untrusted') return this.#distrust()
    if ('kind' in asked) return this.refuse(asked)
    const { normal, server } = asked
    const attributes = attributesOf(this.http, normal.http)
    this.record.path = targetText(normal.http)
    this.record.authority = normal.http.authority.text
    const { before } = snapshot.gates
    if (before.length === 0) return this.#decide(asked, attributes)
    this.gates.before(before, attributes, (refusal, admitted) => {
      // What a gate had to wait for may have outlived the configuration that asked it.
      if (refusal === null && this.environment.active() !== snapshot) return this.#judge()
      if (refusal === null) return this.#decide(asked, admitted)
      // For the record only, as with what policies refuse.
      const { routeName, clusterName } = judgeHttp(snapshot.judge, server.table, attributes, Math.random())
      this.record.routeName = routeName
      this.record.upstreamCluster = clusterName
      this.refuse(refusal)
    })
  }

  #decide({ normal, server, snapshot }: Asked, attributes: HttpRequestAttributes): void {
    const judgement = judgeHttp(snapshot.judge, server.table, attributes, Math.random())
    this.#note(judgement)
    if (judgement.refusal !== null) return this.refuse(judgement.refusal)
    const judged: Judged = { judgement, attributes, nominated: normal.nominated, upgrade: normal.upgrade, snapshot }
    const { after } = snapshot.gates
    if (after.length === 0 || this.gates.limited) return this.#inject(judged)
    this.gates.after(after, attributes, judgement, (refusal) => {
      if (refusal !== null) this.refuse(refusal)
      else if (this.environment.active() === snapshot) this.#inject(judged)
      else this.#judge()
    })
  }

  /** The trust this caller was accepted under has changed: it goes, without an answer that it could not trust either. */
  #distrust(): void {
    this.record.reason = 'untrusted_certificate'
    this.environment.refusedConnection('untrusted_certificate')
    this.http.poisoned = true
    this.downstream.reset()
  }

  #note(judgement: Judgement): void {
    const { http, record } = this
    // Judged again after a delay, it is still one request.
    if (record.decision === null || !judgement.decision.allow) countDecision(http.stats, judgement.decision)
    record.decision = judgement.decision
    record.routeName = judgement.routeName
    record.upstreamCluster = judgement.clusterName
  }

  /**
   * The route's faults, whatever the route does then; before CORS, as Istio orders Envoy's filters, so that preflights have
   * their share. The delay comes first. A caller who leaves meanwhile takes the timer along.
   */
  #inject(judged: Judged): void {
    const chosen = faultOf(judged.judgement, Math.random)
    if (chosen === null) return this.#act(judged)
    const { abort } = chosen
    const delayMs = this.#delayed ? null : chosen.delayMs
    if (delayMs === null) return abort === null ? this.#act(judged) : this.refuse(abortRefusal(abort))
    this.#delayed = true
    this.record.flags.push('DI')
    const after = (): void => {
      this.#delay = null
      // What was let through then may be forbidden by now, and its upstreams gone.
      if (this.environment.active() !== judged.snapshot) this.#judge()
      else if (abort === null) this.#act(judged)
      else this.refuse(abortRefusal(abort))
    }
    this.#delay = setTimeout(after, Math.min(delayMs, MAX_TIMER_MS))
  }

  #act(judged: Judged): void {
    const { judgement, attributes } = judged
    const { http } = attributes
    const cors = corsOf(judgement, http)
    if (cors !== null && cors.answer !== null) {
      const { status, headers } = cors.answer
      this.record.responseCodeDetails = 'cors_response'
      return this.#answer(status, [...headers, 'server', SERVER], '', false)
    }
    if (cors !== null) this.#corsFields = cors.fields
    const facts = new ExchangeFacts(this, judged)
    const answer = routeAnswer(judgement, http, attributes.gatewayPort, facts)
    if (answer !== null) return this.#answerForRoute(answer)
    const carriage = dispatch(this, judged, this.#fields, facts)
    if ('kind' in carriage) return this.refuse(carriage)
    this.#carriage = carriage
    carriage.start()
  }

  /** What CORS and gates add to whatever is answered from here on. */
  get #fields(): HeaderList {
    const { fields } = this.gates
    return fields.length === 0 ? this.#corsFields : replaceFields(this.#corsFields, fields)
  }

  get body(): Readable | null {
    return this.gates.body
  }

  #answerForRoute({ status, headers, body }: RouteAnswer): void {
    const { http, record } = this
    http.stats.rq_direct_response += 1
    record.responseCodeDetails = 'direct_response'
    record.upstreamCluster = null
    const fields = [...replaceFields(headers, this.#fields), 'server', SERVER]
    if (!record.isGrpc) return this.#answer(status, fields, body, false)
    const reply = asGrpc(status, fields, body.toString())
    record.grpcStatus = reply.grpcStatus
    this.#answer(200, reply.headers, '', false)
  }

  refuse(refusal: Refusal): void {
    if (this.finished) return
    const { downstream, http, record } = this
    const row = refusalRow(refusal)
    const reply = renderRefusal(refusal, record.isGrpc)
    if (row.flag !== null) record.flags.push(row.flag as Flag)
    record.responseCodeDetails = (refusal.details ?? row.details).replaceAll(/\s/g, '_')
    record.reason = row.reason
    record.grpcStatus = reply.grpcStatus
    // A 403 or 400 never reached an upstream, whatever was looked up for the record.
    if (row.reason !== null) record.upstreamHost = null
    if (refusal.kind === 'no_route') http.stats.no_route += 1
    if (refusal.kind === 'no_cluster') http.stats.no_cluster += 1
    if (refusal.kind === 'headers_too_large') http.stats.downstream_rq_too_large += 1
    if (reply.close && downstream.protocol !== 'HTTP/2') this.#endConnection()
    this.#answer(reply.status, replaceFields(reply.headers, this.#fields), reply.body, reply.close)
  }

  #answer(status: number, headers: HeaderList, body: string | Buffer, close: boolean): void {
    const { downstream, environment, record } = this
    this.#stopDelay()
    const [fields, content] = contentOf(status, headers, body, downstream.protocol === 'HTTP/2')
    record.responseCode = status
    record.responseHeaders = fields
    record.responseDurationMs = Math.round(performance.now() - this.startedAt)
    record.bytesSent = downstream.method === 'HEAD' ? 0 : Buffer.byteLength(content)
    downstream.reply(status, fields, content, close || environment.draining())
  }

  #stopDelay(): void {
    if (this.#delay !== null) clearTimeout(this.#delay)
    this.#delay = null
  }

  onClose(complete: boolean): void {
    const upgraded = this.#carriage?.upgraded ?? null
    if (upgraded === null) this.#finish(complete)
    else if (!complete) upgraded.cut()
  }

  ended(complete: boolean): void {
    this.#finish(complete)
  }

  /** What came of the body must not count as whole anywhere: the upstream is cut, the caller told (or cut). */
  onBodyMalformed(code: string): void {
    if (this.finished) return
    this.started = true
    this.http.poisoned ||= this.downstream.responded
    this.cut({ kind: 'bad_request', details: `http1.codec_error{${code}}` })
  }

  /** Ends it, whatever it has come to. */
  cut(refusal: Refusal): void {
    this.#carriage?.abort()
    cutShort(this, refusal)
  }

  /** The connection went away under the request (also when its answer was still queued behind another). */
  connectionClosed(): void {
    // What an upgrade still has to give to the outside is given; both its sides tell of their end.
    if ((this.#carriage?.upgraded ?? null) === null) this.#finish(false)
  }

  #finish(complete: boolean): void {
    if (this.finished) return
    this.finished = true
    this.#stopDelay()
    const { downstream, environment, http, record } = this
    http.exchanges.delete(this)
    if (http.exchanges.size === 0) http.whenIdle?.()
    else if (complete && !downstream.closes) http.exchanges.first?.run()
    const { stats } = http
    stats.downstream_rq_active -= 1
    if (!this.started) stats.downstream_rq_total += 1
    // Also after an answer that came before the request was over (an early 413): nobody will send the rest of it.
    this.#carriage?.end(!complete || downstream.body?.readableEnded === false)
    if (!complete && describeCut(record, downstream.responded, environment.cutting())) {
      stats.downstream_rq_rx_reset += 1
    }
    const klass = Math.floor(record.responseCode / 100)
    if (klass >= 1 && klass <= 5) stats.downstream_rq_xx[klass] = (stats.downstream_rq_xx[klass] ?? 0) + 1
    record.durationMs = Math.round(performance.now() - this.startedAt)
    this.gates.end()
    environment.finish(record)
  }

  /** Nothing behind this request is one any more (contract §5): what has been read ahead leaves no trace either. */
  #endConnection(): void {
    const { exchanges, stats } = this.http
    this.http.poisoned = true
    // What stands in front of it, and waits for its own turn, is still to be answered.
    const all = [...exchanges]
    for (const behind of all.slice(all.indexOf(this) + 1)) {
      if (behind.started) continue
      behind.finished = true
      exchanges.delete(behind)
      stats.downstream_rq_active -= 1
    }
  }
}
