/** What command operators in a route's header edits may look at, read off the exchange when a route has such edits. */
import { hostname } from 'node:os'
import type { FactsSource } from '../runtime/outgoing.ts'
import type { Carried } from './carriage.ts'
import type { Judged } from './judged.ts'

const HOSTNAME = hostname()

export class ExchangeFacts implements FactsSource {
  readonly #exchange: Pick<Carried, 'record' | 'http'>
  readonly #judged: Judged

  constructor(exchange: Pick<Carried, 'record' | 'http'>, judged: Judged) {
    this.#exchange = exchange
    this.#judged = judged
  }

  factsFor(response: Parameters<FactsSource['factsFor']>[0]): ReturnType<FactsSource['factsFor']> {
    const { record, http } = this.#exchange
    return {
      connection: http.connection,
      http: this.#judged.attributes.http,
      protocol: record.protocol ?? '',
      requestId: record.requestId ?? '',
      xForwardedFor: record.xForwardedFor ?? '',
      startedAt: record.startedAt,
      hostname: HOSTNAME,
      routeName: record.routeName,
      cluster: record.upstreamCluster,
      response:
        response === null
          ? null
          : {
              ...response,
              details: record.responseCodeDetails,
              flags: record.flags,
              bytesReceived: record.bytesReceived,
              requestDurationMs: record.requestDurationMs,
              responseDurationMs: record.responseDurationMs,
              upstreamHost: record.upstreamHost,
              upstreamLocalAddress: record.upstreamLocalAddress,
              upstreamProtocol: record.upstreamProtocol,
              attempts: record.upstreamAttempts,
            },
    }
  }
}
