/**
 * CUSTOM policies at work: where one of their rules matches, the external authorizer decides, before tokens are verified
 * and policies judged (contract §4). Fail closed: what cannot be asked is refused, unless the provider says `failOpen`.
 */
import type { HeaderList, HttpAttributes } from '../../core/attributes.ts'
import type { Refusal } from '../../core/refusal.ts'
import type { UpstreamCluster } from '../../forward/cluster.ts'
import type { Forwarder } from '../../forward/engine.ts'
import type { AuthorizerModel, ExtAuthzProvider } from '../../model/extension-providers.ts'
import type { GatewayModel } from '../../model/gateway.ts'
import type { Log } from '../../observe/log.ts'
import { type AskingRule, compileCustom } from '../../policy/custom.ts'
import type { Admission, Gate, Passage } from '../../runtime/gate.ts'
import { call } from './call.ts'
import { type BodyReading, readBeginning } from './checked-body.ts'
import { createGrpcCheck } from './grpc-check.ts'
import { changedHeaders } from './header-changes.ts'
import { type Check, createHttpCheck } from './http-check.ts'
import type { BodyPart } from './question.ts'
import { failed, type Verdict } from './verdict.ts'

/** Checks under way at once; more are failures, so that a stuck authorizer does not fill the memory. */
const MAX_CHECKS = 1024
/** A body that an authorizer is to see has to be here by then, milliseconds. */
const MAX_BODY_WAIT = 60_000
/** Between two lines of the log about failures. */
const QUIET_MS = 1000

export type AuthorizerServices = {
  readonly forwarder: Forwarder
  readonly cluster: (name: string) => UpstreamCluster | null
  readonly log: Log
}

/** null: no CUSTOM policy applies here. */
export function createExtAuthzGate(model: GatewayModel, services: AuthorizerServices): Gate | null {
  const { authorizer } = model
  if (authorizer === null) return null
  const { provider } = authorizer
  const cluster = provider === null ? null : services.cluster(authorizer.cluster)
  if (provider === null || cluster === null) return { name: 'ext_authz', admit: () => closed(authorizer) }
  return new ExtAuthzGate(model, provider, cluster, services)
}

function closed({ name }: AuthorizerModel): Refusal {
  return { kind: 'ext_authz_denied', details: `ext_authz_error{no_provider:${name}}` }
}

class ExtAuthzGate implements Gate {
  readonly name = 'ext_authz'
  readonly #provider: ExtAuthzProvider
  readonly #cluster: UpstreamCluster
  readonly #forwarder: Forwarder
  readonly #log: Log
  readonly #asks: ReturnType<typeof compileCustom>
  readonly #check: Check
  readonly #limits: GatewayModel['settings']['http']
  #underWay = 0
  #quietUntil = 0
  /** Failures since the last line about one. */
  #untold = 0

  constructor(model: GatewayModel, provider: ExtAuthzProvider, cluster: UpstreamCluster, services: AuthorizerServices) {
    this.#provider = provider
    this.#cluster = cluster
    this.#forwarder = services.forwarder
    this.#log = services.log
    this.#asks = compileCustom(model.policies)
    this.#check = provider.type === 'envoyExtAuthzHttp' ? createHttpCheck(provider) : createGrpcCheck(provider)
    this.#limits = model.settings.http
  }

  admit(passage: Passage): Admission {
    const rule = this.#asks(passage.attributes)
    if (rule === null) return null
    if (this.#underWay >= MAX_CHECKS)
      return noted(passage, rule, this.#conclude(passage, failed('too many checks are under way')))
    return this.#ask(passage).then((refusal) => noted(passage, rule, refusal))
  }

  async #ask(passage: Passage): Promise<Refusal | null> {
    this.#underWay += 1
    try {
      const body = await this.#readBody(passage)
      if (body !== null && 'kind' in body) return body
      const verdict = await this.#verdict(passage, body)
      return verdict === null ? LEFT : this.#conclude(passage, verdict)
    } catch (error) {
      return this.#conclude(passage, failed(String(error)))
    } finally {
      this.#underWay -= 1
    }
  }

  /** What the authorizer is to see of the body; null: nothing. A refusal where it may not be cut and is too long. */
  async #readBody(passage: Passage): Promise<BodyPart | Refusal | null> {
    const { body: wanted } = this.#provider
    if (wanted === null || passage.attributes.http === null) return null
    if (passage.body === null) return { bytes: Buffer.alloc(0), whole: true }
    passage.awaitBody?.()
    const reading = readBeginning(passage.body, wanted.maxBytes)
    const read = await inTime(passage, reading)
    if (read === null) return { kind: 'ext_authz_denied', status: 408, details: 'request_timeout' }
    passage.body = read.body
    if (read.whole || wanted.allowPartial) return read
    return {
      kind: 'ext_authz_denied',
      status: 413,
      details: 'request_payload_too_large',
      body: 'Payload Too Large',
    }
  }

  /** null: whoever asked has left meanwhile. */
  async #verdict(passage: Passage, body: BodyPart | null): Promise<Verdict | null> {
    const { attributes, connection, record } = passage
    const request = this.#check.request({ attributes, connection, record, body })
    if (request === null) return failed('it cannot be asked about tunnels')
    const { timeoutMs } = this.#provider
    const asked = call({ forwarder: this.#forwarder, cluster: this.#cluster, timeoutMs }, request)
    let left = false
    passage.endings.push(() => {
      left = true
      asked.cancel()
    })
    const result = await asked.result
    if (left) return null
    return 'failure' in result ? failed(result.failure) : this.#check.verdict(result.answer)
  }

  #conclude(passage: Passage, verdict: Verdict): Refusal | null {
    const { stats } = this.#cluster
    switch (verdict.kind) {
      case 'error':
        return this.#failed(passage, verdict.why)
      case 'denied':
        stats.ext_authz_denied += 1
        return { kind: 'ext_authz_denied', status: verdict.status, headers: verdict.headers, body: verdict.body }
      case 'allowed': {
        const { http } = passage.attributes
        if (http !== null) {
          const headers = changedHeaders(http.headers, verdict.changes, verdict.remove)
          if (headers === null || !this.#fits(headers))
            return this.#failed(passage, 'it adds fields that cannot be sent')
          if (headers !== http.headers) passage.attributes = { ...passage.attributes, http: withHeaders(http, headers) }
          passage.responseFields.push(...verdict.response)
        }
        stats.ext_authz_ok += 1
        return null
      }
    }
  }

  /** One line a second at most: while the authorizer is down every request would have one. */
  #tell(failOpen: boolean, fields: Readonly<Record<string, unknown>>): void {
    const now = performance.now()
    if (now < this.#quietUntil) {
      this.#untold += 1
      return
    }
    const what = failOpen ? 'let through without the authorizer (failOpen)' : 'refused without asking the authorizer'
    this.#log.warning(what, this.#untold === 0 ? fields : { ...fields, others: this.#untold })
    this.#quietUntil = now + QUIET_MS
    this.#untold = 0
  }

  /** As much as a caller might have sent. */
  #fits(headers: HeaderList): boolean {
    let bytes = 0
    for (const part of headers) bytes += part.length + 2
    return headers.length / 2 <= this.#limits.maxHeaders && bytes <= this.#limits.maxHeaderBytes
  }

  #failed(passage: Passage, why: string): Refusal | null {
    const { failOpen, name, statusOnError } = this.#provider
    const { stats } = this.#cluster
    stats.ext_authz_error += 1
    if (failOpen) stats.ext_authz_failure_mode_allowed += 1
    this.#tell(failOpen, { provider: name, why, request_id: passage.record.requestId })
    if (failOpen) return null
    return { kind: 'ext_authz_denied', status: statusOnError, details: 'ext_authz_error' }
  }
}

/** Nobody hears it. */
const LEFT: Refusal = { kind: 'ext_authz_denied' }

/** A refusal is recorded as the decision of the rule that wanted the authorizer asked. */
function noted(passage: Passage, { id, source }: AskingRule, refusal: Refusal | null): Refusal | null {
  if (refusal !== null) passage.record.decision = { allow: false, outcome: 'deny', policy: id, source, shadow: null }
  return refusal
}

function withHeaders(http: HttpAttributes, headers: HeaderList): HttpAttributes {
  return { ...http, headers }
}

/** null: it broke off, or took too long. */
async function inTime(passage: Passage, reading: BodyReading): BodyReading['result'] {
  const timer = setTimeout(reading.cancel, MAX_BODY_WAIT)
  passage.endings.push(reading.cancel)
  const read = await reading.result
  clearTimeout(timer)
  return read
}
