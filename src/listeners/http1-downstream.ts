/** One HTTP/1.1 request of Node's parser as the exchange sees it. */
import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http'
import type { Readable, Writable } from 'node:stream'
import type { Downstream } from './downstream.ts'

export class Http1Downstream implements Downstream {
  readonly protocol: 'HTTP/1.0' | 'HTTP/1.1'
  readonly method: string
  readonly target: string
  readonly authorities: readonly string[]
  readonly headers: readonly string[]
  readonly body: Readable | null
  readonly expectsContinue: boolean
  readonly expectsOther: boolean
  closes = false
  readonly #request: IncomingMessage
  readonly #response: ServerResponse

  constructor(request: IncomingMessage, response: ServerResponse, expectsContinue: boolean, expectsOther: boolean) {
    this.#request = request
    this.#response = response
    this.protocol = request.httpVersionMajor === 1 && request.httpVersionMinor === 1 ? 'HTTP/1.1' : 'HTTP/1.0'
    this.method = request.method ?? ''
    this.target = request.url ?? ''
    const raw = request.rawHeaders
    let unknown = expectsOther
    const headers = Array.from<string>({ length: raw.length })
    const authorities: string[] = []
    let hasBody = false
    for (let i = 0; i < raw.length; i += 2) {
      const name = (raw[i] as string).toLowerCase()
      const value = raw[i + 1] as string
      headers[i] = name
      headers[i + 1] = value
      if (name === 'host') authorities.push(value)
      // Node takes `100-continue` anywhere in the value for the whole of it.
      else if (name === 'expect') unknown ||= value.toLowerCase() !== '100-continue'
      else if (name === 'transfer-encoding') hasBody = true
      else if (name === 'content-length' && value !== '0') hasBody = true
    }
    this.expectsContinue = expectsContinue && !unknown
    this.expectsOther = unknown
    this.headers = headers
    this.authorities = authorities
    this.body = hasBody ? request : null
  }

  get responded(): boolean {
    return this.#response.headersSent
  }

  sendContinue(): void {
    this.#response.writeContinue()
  }

  reply(status: number, headers: string[], body: string | Buffer, close: boolean): void {
    const response = this.#response
    // A body the caller has not been asked for yet will not come; keeping the connection would leave it out of step.
    const ends = close || !response.shouldKeepAlive || this.expectsContinue || this.expectsOther
    this.closes = ends
    response.removeHeader('connection')
    response.writeHead(status, STATUS_CODES[status] ?? '', ends ? [...headers, 'connection', 'close'] : headers)
    response.end(body)
  }

  start(status: number, headers: string[], close: boolean): Writable {
    // The caller may have asked for the end, too (RFC 9112, 9.6: then the answer says so).
    const ends = close || !this.#response.shouldKeepAlive
    this.closes = ends
    // HTTP/1.1 keeps connections anyway; without this Node would say so, and for how long.
    this.#response.removeHeader('connection')
    this.#response.writeHead(status, STATUS_CODES[status] ?? '', ends ? [...headers, 'connection', 'close'] : headers)
    return this.#response
  }

  /** Dropped on this side, as Envoy does: nothing says that they were announced or wanted. */
  trailers(): null {
    return null
  }

  reset(): void {
    this.#request.socket.destroy()
  }
}
