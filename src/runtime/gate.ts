/**
 * What stands in a request's way besides policies and routes (contract §4, Order): blocks, external authorizers and tokens
 * before the judgement, limits after it. A gate is compiled with the snapshot; where there is none, nothing is spent on it.
 */
import type { Readable } from 'node:stream'
import type { Attributes, Connection } from '../core/attributes.ts'
import type { Refusal } from '../core/refusal.ts'
import type { ExchangeRecord } from '../observe/record.ts'
import type { Judgement } from './judge.ts'
import type { TunnelJudgement } from './judge-tunnel.ts'

/** null: let through. A Promise only where somebody else has to be asked; it must settle in bounded time and not reject. */
export type Admission = Refusal | null | Promise<Refusal | null>

export type Gate = {
  /** For error messages and `/config_dump`: `jwt`, `ext_authz` … */
  readonly name: string
  admit(passage: Passage): Admission
}

/** In the contract's order. Empty lists are the rule. */
export type Gates = {
  /** Blocks, CUSTOM policies, tokens: before DENY and ALLOW are judged. */
  readonly before: readonly Gate[]
  /** Limits: after route and registry have let it through, before anything is resolved or dialled. */
  readonly after: readonly Gate[]
}

/** Closes a tunnel that is open, for a reason that goes into its record. Idempotent. */
export type CloseTunnel = (reason: 'blocked' | 'rate_limited') => void

/** Of a tunnel or an upgraded request that is being copied: its bytes so far, both ways. `close` as `Passage.close`. */
export type LiveTunnel = {
  /** From the caller, and to the caller. */
  readonly bytesUp: number
  readonly bytesDown: number
  readonly close: CloseTunnel
}

/** One request or tunnel on its way through the gates. Gates write what the exchange then goes on with. */
export class Passage {
  readonly connection: Connection
  readonly record: ExchangeRecord
  /** What is judged, and (`http`) what is sent. A gate may put others in their place: what it adds is judged as well. */
  attributes: Attributes
  /** null before the judgement. */
  judgement: Judgement | TunnelJudgement | null = null
  /** Of a request; null: it has none, or this is a tunnel. A gate that has read of it puts a stream that gives the same bytes here. */
  body: Readable | null
  /** null unless the caller waits to be asked for its body (`Expect: 100-continue`): whoever is about to read of it calls this. */
  awaitBody: (() => void) | null = null
  /** Flat, lower case: in every answer, the upstream's or our own, in place of fields of the same names. */
  readonly responseFields: string[] = []
  /** Of a tunnel; null: this is a request. */
  readonly close: CloseTunnel | null
  /** Of a tunnel: the name in the ClientHello that routes it, canonical; null: there is none, or this is a request. */
  sni: string | null = null
  /** Called once each when bytes begin to flow both ways: of a tunnel, and of a request that has changed its protocol. */
  readonly openings: ((tunnel: LiveTunnel) => void)[] = []
  /** Called once each with the finished record (bytes, flags, duration), whatever the ending. */
  readonly endings: ((record: ExchangeRecord) => void)[] = []

  constructor(
    connection: Connection,
    record: ExchangeRecord,
    attributes: Attributes,
    body: Readable | null,
    close: CloseTunnel | null,
  ) {
    this.connection = connection
    this.record = record
    this.attributes = attributes
    this.body = body
    this.close = close
  }

  /** Tells those who asked for it that it is a tunnel now. */
  opened(tunnel: LiveTunnel): void {
    for (const opening of this.openings.splice(0)) opening(tunnel)
  }

  /** Tells those who asked for it that it is over. */
  end(): void {
    for (const ending of this.endings.splice(0)) ending(this.record)
  }
}

/**
 * Asks one gate after the other; the first that refuses ends it. `then` is called at once unless a gate has to ask
 * somebody. A gate that fails (it must not) refuses: `onCrash`.
 */
export function passThrough(
  gates: readonly Gate[],
  passage: Passage,
  then: (refusal: Refusal | null) => void,
  onCrash: (error: unknown) => void,
): void {
  for (let i = 0; i < gates.length; i += 1) {
    const admission = (gates[i] as Gate).admit(passage)
    if (admission === null) continue
    if (!(admission instanceof Promise)) return then(admission)
    const rest = gates.slice(i + 1)
    admission
      .then((refusal) => (refusal === null ? passThrough(rest, passage, then, onCrash) : then(refusal)))
      .catch(onCrash)
    return
  }
  then(null)
}
