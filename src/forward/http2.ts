/**
 * HTTP/2 to the outside, by `node:http2`: many requests share a connection, each is a stream of its own. Everything else
 * (which endpoint, what is counted, what is tried again) is delivery.ts, as with HTTP/1.1.
 */

import type { Carrier } from './carrier.ts'
import { connectBy, type Door } from './connect.ts'
import { Delivery } from './delivery.ts'
import type { Forwarder } from './engine.ts'
import { Http2Attempt } from './http2-attempt.ts'
import { http2Lines } from './http2-lines.ts'
import type { Http2Line } from './http2-session.ts'

const CARRIER: Carrier<Http2Line> = {
  protocol: 'HTTP/2',
  take: (endpoint, { limits }, { caller }) => http2Lines(endpoint.poolFor(caller, true), limits).take(),
  connect: (cluster, request, handlers, first, addresses) => {
    const door: Door<Http2Line> = {
      dial: (endpoint, acquire) => http2Lines(endpoint.poolFor(request.caller, true), cluster.limits).acquire(acquire),
      // Whoever finds no room waits in there.
      wait: null,
    }
    return connectBy(door, cluster, request, handlers, first, addresses)
  },
  carry: (line, request, limits, events, { model }) => {
    const attempt = new Http2Attempt(line, request, limits, events)
    attempt.start(model.tls === null ? 'http' : 'https')
    return attempt
  },
}

/** One forwarder serves every cluster. */
export function createHttp2Forwarder(): Forwarder {
  return {
    send: (cluster, request, handlers, attempt = null) => new Delivery(CARRIER, cluster, request, handlers, attempt),
  }
}
