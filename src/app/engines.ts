/** TABLE of what carries HTTP/1.1, callers' side and upstreams' (contract §10). Chosen at start by `http.engine`. */
import type { Forwarder } from '../forward/engine.ts'
import { createHttpProxyForwarder } from '../forward/http-proxy.ts'
import { createWireForwarder } from '../forward/wire/forwarder.ts'
import { createHttp1Server, type Http1Handlers, type Http1Server } from '../listeners/http1.ts'
import { createWireServer } from '../listeners/wire/server.ts'
import type { HttpEngine, Settings } from '../model/settings.ts'

export type Engine = {
  readonly server: (limits: Settings['http'], handlers: Http1Handlers) => Http1Server
  readonly forwarder: () => Forwarder
}

export const ENGINES = {
  'http-proxy': { server: createHttp1Server, forwarder: createHttpProxyForwarder },
  wire: { server: createWireServer, forwarder: createWireForwarder },
} as const satisfies Record<HttpEngine, Engine>
