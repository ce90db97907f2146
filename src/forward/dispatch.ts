/** Sends each request in the HTTP version that its cluster wants. */
import type { Forwarder } from './engine.ts'
import { speaksHttp2 } from './http-version.ts'
import { createHttp2Forwarder } from './http2.ts'

/** `http1`: the engine that the bootstrap names (contract §10); HTTP/2 is the same with each. */
export function createForwarder(http1: Forwarder): Forwarder {
  const http2 = createHttp2Forwarder()
  return {
    send: (cluster, request, handlers, attempt = null) =>
      (speaksHttp2(cluster.model, request.clientProtocol) ? http2 : http1).send(cluster, request, handlers, attempt),
  }
}
