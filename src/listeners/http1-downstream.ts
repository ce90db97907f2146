/** One HTTP/1.1 request of Node's parser as the exchange sees it. */
import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http'
import type { Readable, Writable } from 'node:stream'
import type { Downstream } from './downstream.ts'
import { http1Request } from './http1-request.ts'

export class Http1Downstream implements Downstream {
  readonly protocol: 'HTTP/1.0' | 'HTTP/1.1'
  readonly strict = false
  readonly method: string
  readonly target: string
  readonly authorities: readonly string[]
  readonly headers: readonly string[]
  readonly body: Readable | null
  readonly expectsContinue: boolean
  readonly expectsOther: boolean
  readonly upgrade = null
  closes = false
  readonly #request: IncomingMessage
  readonly #response: ServerResponse

  constructor(request: IncomingMessage, response: ServerResponse, expectsContinue: boolean, expectsOther: boolean) {
    this.#request = request
    this.#response = response
    const { protocol, method, target, headers, authorities, hasBody, expects } = http1Request(request)
    this.protocol = protocol
    this.method = method
    this.target = target
    const unknown = expectsOther || expects === 'other'
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
    // As bytes: with a string, Node would write the head in UTF-8 too, two bytes for each one from 0x80 up.
    response.end(typeof body === 'string' ? Buffer.from(body) : body)
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

  reset(): void {
    this.#request.socket.destroy()
  }
}
