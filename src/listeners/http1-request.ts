/** What an HTTP/1.1 head says, in the words of the exchange, whichever parser has read it. */
import type { IncomingMessage } from 'node:http'

export type Http1Request = {
  readonly protocol: 'HTTP/1.0' | 'HTTP/1.1'
  readonly method: string
  readonly target: string
  readonly authorities: readonly string[]
  /** Lower-case names. */
  readonly headers: readonly string[]
  readonly hasBody: boolean
  /** Of all `Expect` fields. */
  readonly expects: 'nothing' | '100-continue' | 'other'
}

export function http1Request(request: IncomingMessage): Http1Request {
  const raw = request.rawHeaders
  const headers = Array.from<string>({ length: raw.length })
  const authorities: string[] = []
  let hasBody = false
  let expects: Http1Request['expects'] = 'nothing' as Http1Request['expects']
  for (let i = 0; i < raw.length; i += 2) {
    const name = (raw[i] as string).toLowerCase()
    const value = raw[i + 1] as string
    headers[i] = name
    headers[i + 1] = value
    if (name === 'host') authorities.push(value)
    // Node takes `100-continue` anywhere in the value for the whole of it; two of them are something else.
    else if (name === 'expect')
      expects = value.toLowerCase() === '100-continue' && expects === 'nothing' ? '100-continue' : 'other'
    else if (name === 'transfer-encoding') hasBody = true
    else if (name === 'content-length' && value !== '0') hasBody = true
  }
  return {
    protocol: request.httpVersionMajor === 1 && request.httpVersionMinor === 1 ? 'HTTP/1.1' : 'HTTP/1.0',
    method: request.method ?? '',
    target: request.url ?? '',
    authorities,
    headers,
    hasBody,
    expects,
  }
}
