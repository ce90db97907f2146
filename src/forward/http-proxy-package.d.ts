/**
 * What forward/http-proxy.ts uses of the package `http-proxy` 1.18.1, which ships no types (and @types/http-proxy
 * describes far more than we let it do).
 */
declare module 'http-proxy' {
  import type { ClientRequest, IncomingMessage } from 'node:http'

  type Pass = (...args: readonly unknown[]) => unknown

  export default class ProxyServer<View = unknown> {
    constructor(options?: object)
    /** Called in order for each request; a pass's function name is its name. */
    webPasses: Pass[]
    web(view: View, sink: object, options: object, onError: (error: Error, view: View) => void): void
    on(event: 'proxyRes', listener: (response: IncomingMessage, view: View) => void): this
    on(event: 'proxyReq', listener: (request: ClientRequest, view: View) => void): this
    on(event: 'error', listener: (error: Error, view: View) => void): this
  }
}

declare module 'http-proxy/lib/http-proxy/common.js' {
  const common: { urlJoin: (...parts: string[]) => string }
  export default common
}
