/** One request's way through the gates (runtime/gate.ts): what they wait for, what they add, what they hear at its end. */
import type { Readable } from 'node:stream'
import type { HeaderList } from '../core/attributes.ts'
import type { Refusal } from '../core/refusal.ts'
import type { ExchangeRecord } from '../observe/record.ts'
import { type Gate, type LiveTunnel, Passage, passThrough } from '../runtime/gate.ts'
import type { HttpRequestAttributes, Judgement } from '../runtime/judge.ts'
import type { Downstream } from './downstream.ts'
import type { HttpConnection } from './environment.ts'

const NO_FIELDS: HeaderList = []

/** What the exchange lends. */
export type Gated = {
  readonly http: HttpConnection
  readonly record: ExchangeRecord
  readonly downstream: Pick<Downstream, 'body' | 'expectsContinue' | 'sendContinue' | 'responded'>
  readonly finished: boolean
  /** A mistake of ours, in a turn in which nobody else would hear of it. */
  crash(error: unknown): void
}

export class Gatekeeper {
  readonly #exchange: Gated
  #passage: Passage | null = null
  /** Limits have counted it: they do so once, however often it is judged. */
  limited = false

  constructor(exchange: Gated) {
    this.#exchange = exchange
  }

  /** Of the request, as the gates have left it. */
  get body(): Readable | null {
    return this.#passage === null ? this.#exchange.downstream.body : this.#passage.body
  }

  /** In every answer. */
  get fields(): HeaderList {
    return this.#passage?.responseFields ?? NO_FIELDS
  }

  /** `then` hears what became of it unless the request has ended meanwhile; `attributes` may be others than before. */
  before(
    gates: readonly Gate[],
    attributes: HttpRequestAttributes,
    then: (refusal: Refusal | null, attributes: HttpRequestAttributes) => void,
  ): void {
    const passage = this.#renew(attributes)
    this.#ask(gates, passage, (refusal) => then(refusal, passage.attributes as HttpRequestAttributes))
  }

  after(
    gates: readonly Gate[],
    attributes: HttpRequestAttributes,
    judgement: Judgement,
    then: (refusal: Refusal | null) => void,
  ): void {
    const passage = this.#passage ?? this.#renew(attributes)
    passage.judgement = judgement
    this.limited = true
    this.#ask(gates, passage, then)
  }

  /** The request has changed its protocol. */
  opened(tunnel: LiveTunnel): void {
    this.#passage?.opened(tunnel)
  }

  /** Once the record is finished. */
  end(): void {
    this.#passage?.end()
  }

  /** Asked again under another configuration, it owes the same endings, and its body has been read as far as it has. */
  #renew(attributes: HttpRequestAttributes): Passage {
    const { downstream, http, record } = this.#exchange
    const { body } = this
    const passage = new Passage(http.connection, record, attributes, body, null)
    // Another body than the caller's: it has been asked for already.
    if (downstream.expectsContinue && body === downstream.body) passage.awaitBody = () => downstream.sendContinue()
    if (this.#passage !== null) {
      passage.endings.push(...this.#passage.endings)
      passage.openings.push(...this.#passage.openings)
    }
    this.#passage = passage
    return passage
  }

  #ask(gates: readonly Gate[], passage: Passage, then: (refusal: Refusal | null) => void): void {
    // Answered while a gate was waiting (a block, a broken body), it must not be sent after all.
    const unlessOver = (refusal: Refusal | null): void => {
      const { downstream, finished } = this.#exchange
      if (!finished && !downstream.responded) then(refusal)
    }
    passThrough(gates, passage, unlessOver, (error) => this.#exchange.crash(error))
  }
}
