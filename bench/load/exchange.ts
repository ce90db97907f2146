/** The request that every load sends, what must come back byte for byte, and answers read from a connection. */
import type { Socket } from 'node:net'
import { HOSTS } from '../contenders/world.ts'
import { BODY } from './body.ts'

export const PATH = '/api/v1/items?limit=20'

/** Besides `host`: with it ten, about 420 bytes of head. */
export const REQUEST_HEADERS = {
  'user-agent': 'Mozilla/5.0 (X11; Linux x86_64) bench/1.0',
  accept: 'application/json, text/plain, */*',
  'accept-language': 'en-GB,en;q=0.9,de;q=0.7',
  'x-request-id': '8f14e45f-ceea-467f-a8f2-5b1c6d3e7a90',
  'x-forwarded-for': '10.1.2.3',
  traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
  authorization: 'Bearer abcdefghijklmnopqrstuvwxyz012345',
  'cache-control': 'no-cache',
  'x-team': 'payments',
} as const

export type Expected = { readonly host: string; readonly status: number; readonly body: string }

export const ALLOWED: Expected = { host: HOSTS.plain, status: 200, body: BODY }
export const ORIGINATED: Expected = { host: HOSTS.tls, status: 200, body: BODY }
export const REFUSED: Expected = { host: HOSTS.refused, status: 403, body: 'RBAC: access denied' }

export function requestText(host: string): string {
  const headers = Object.entries({ host, ...REQUEST_HEADERS }).map(([name, value]) => `${name}: ${value}\r\n`)
  return `GET ${PATH} HTTP/1.1\r\n${headers.join('')}\r\n`
}

/**
 * Reads answers to `requestText` one after the other. Only what contenders send is understood (a status line and a
 * content-length); anything else, and an answer other than the expected one, is an error.
 */
export class Answers {
  readonly #expected: Expected
  readonly #onAnswer: () => void
  readonly #onWrong: (error: Error) => void
  #held: Buffer = Buffer.alloc(0)

  constructor(socket: Socket, expected: Expected, onAnswer: () => void, onWrong: (error: Error) => void) {
    this.#expected = expected
    this.#onAnswer = onAnswer
    this.#onWrong = onWrong
    socket.on('data', (chunk: Buffer) => this.#take(chunk))
    socket.on('error', onWrong)
    socket.on('close', () => onWrong(new Error('the connection was closed')))
  }

  #take(chunk: Buffer): void {
    this.#held = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk])
    for (;;) {
      const end = this.#held.indexOf('\r\n\r\n')
      if (end < 0) return
      const head = this.#held.toString('latin1', 0, end)
      const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1]
      if (length === undefined) return this.#onWrong(new Error(`no content-length: ${head}`))
      const whole = end + 4 + Number(length)
      if (this.#held.length < whole) return
      const body = this.#held.toString('latin1', end + 4, whole)
      this.#held = this.#held.subarray(whole)
      const { status, body: wanted } = this.#expected
      if (!head.startsWith(`HTTP/1.1 ${status} `) || body !== wanted)
        return this.#onWrong(new Error(`expected ${status} with ${wanted.length} bytes, got ${head}\n\n${body}`))
      this.#onAnswer()
    }
  }
}

/** Sends one request and waits for its answer. @throws when it is not the expected one */
export function exchange(socket: Socket, expected: Expected): Promise<void> {
  return new Promise((resolve, reject) => {
    void new Answers(socket, expected, resolve, reject)
    socket.write(requestText(expected.host))
  })
}
