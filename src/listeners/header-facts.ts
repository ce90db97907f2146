/** What command operators in a route's header edits may look at, read off the exchange when a route has such edits. */
import { hostname } from 'node:os'
import type { FactsFor } from '../runtime/outgoing.ts'
import type { Carried } from './carriage.ts'
import type { Judged } from './judged.ts'

const HOSTNAME = hostname()

export function factsOf({ record, http }: Pick<Carried, 'record' | 'http'>, { attributes }: Judged): FactsFor {
  return (response) => ({
    connection: http.connection,
    http: attributes.http,
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
  })
}
