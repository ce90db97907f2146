/** What the chosen route does besides sending the request on, as `explain` prints it; and when it answers by itself. */
import { type HttpAttributes, NO_PEER } from '../core/attributes.ts'
import type { FaultModel, RetryModel, RouteModel, StringMatch } from '../model/route.ts'
import type { HeaderFacts } from '../routing/header-values.ts'
import { abortStatus, corsOf } from '../runtime/interposed.ts'
import type { Judgement } from '../runtime/judge.ts'
import { type FactsSource, routeAnswer } from '../runtime/outgoing.ts'

/** One line each; empty when it just forwards. */
export function describeRoute({ action, fault, cors }: RouteModel): readonly string[] {
  const lines: string[] = []
  if (fault !== null) lines.push(...describeFault(fault))
  if (cors !== null) {
    const preflights = cors.forwardUnmatchedPreflights ? 'forwarded' : 'answered here'
    lines.push(`cors: origins ${cors.allowOrigins.map(describeMatch).join(', ')}; other preflights are ${preflights}`)
  }
  if (action.kind !== 'forward') return lines
  if (action.timeoutMs !== null) lines.push(`timeout: ${action.timeoutMs} ms`)
  if (action.retry !== null) lines.push(describeRetry(action.retry))
  for (const { cluster, percent } of action.mirrors) lines.push(`mirror: ${percent}% to ${cluster}`)
  return lines
}

function describeFault({ delay, abort }: FaultModel): readonly string[] {
  const lines: string[] = []
  if (delay !== null) lines.push(`fault: ${delay.percent}% delayed by ${delay.ms} ms`)
  if (abort !== null) {
    const status = abort.grpcStatus === null ? abort.httpStatus : `gRPC status ${abort.grpcStatus}`
    lines.push(`fault: ${abort.percent}% aborted with ${status}`)
  }
  return lines
}

function describeRetry({ attempts, on, statusCodes, perTryTimeoutMs, backoffMs }: RetryModel): string {
  const each = perTryTimeoutMs === null ? '' : `, each try at most ${perTryTimeoutMs} ms`
  return `retries: up to ${attempts} on ${[...on, ...statusCodes].join(', ')}${each}, back-off from ${backoffMs} ms`
}

function describeMatch(match: StringMatch): string {
  return match.kind === 'present' ? 'any' : `${match.kind} ${match.value}`
}

/** The answer that the route is sure to give without an upstream; null: it forwards (a fault that may happen may not). */
export function ownAnswer(
  judgement: Judgement,
  http: HttpAttributes,
  gatewayPort: number,
): { readonly status: number; readonly by: string } | null {
  const route = judgement.match?.route ?? null
  if (route === null) return null
  const { fault } = route.model
  if (fault !== null && fault.abort !== null && fault.abort.percent >= 100)
    return { status: abortStatus(fault.abort), by: "the route's fault" }
  const preflight = corsOf(judgement, http)?.answer ?? null
  if (preflight !== null) return { status: preflight.status, by: "the route's CORS policy" }
  const answer = routeAnswer(judgement, http, gatewayPort, NO_HEADER_FACTS)
  return answer === null ? null : { status: answer.status, by: 'the route' }
}

const FACTS: HeaderFacts = {
  connection: {
    id: 0,
    openedAt: 0,
    remoteAddress: '',
    remotePort: 0,
    localAddress: '',
    localPort: 0,
    gatewayPort: 0,
    peer: NO_PEER,
    tls: null,
  },
  http: {
    method: '',
    path: '',
    query: null,
    scheme: 'http',
    authority: { host: '', port: null, text: '', isIp: false },
    headers: [],
  },
  protocol: '',
  requestId: '',
  xForwardedFor: '',
  startedAt: 0,
  hostname: '',
  routeName: null,
  cluster: null,
  response: null,
}

/** Header values are not printed, so what is in them plays no part. */
export const NO_HEADER_FACTS: FactsSource = { factsFor: () => FACTS }
