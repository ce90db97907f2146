/** The head of an outgoing request as it goes over the wire: built from what was judged, never copied from what was received. */
import { isFieldValue } from '../../core/headers.ts'
import { lineStart } from '../../core/http1/field-names.ts'
import { declaredLength } from '../carrier.ts'
import type { OutgoingRequest } from '../forwarder.ts'

export type RequestHead = {
  /** One character per byte, empty line included. */
  readonly text: string
  /** Bytes of body that must follow; null: there is none. */
  readonly length: number | 'chunked' | null
}

/** Nothing that could end the line, or the word in it; more than that has been judged before. */
const TARGET = /^[\x21-\xff]+$/
/** RFC 9110 §5.6.2 token. */
const METHOD = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/

/** null: it cannot be sent as it is; whoever judged it should have refused it. */
export function requestHead(request: OutgoingRequest): RequestHead | null {
  const { method, target, headers, body } = request
  if (method === 'CONNECT' || !METHOD.test(method) || !TARGET.test(target)) return null
  // Grown piece by piece: it is made flat once, when it is written; joining an array costs half as much again.
  let text = `${method} ${target} HTTP/1.1`
  let framed = false
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string
    const value = headers[i + 1] as string
    const start = lineStart(name)
    // As fieldsAreCarriable: the last look before the wire, where a line end would be a request of somebody else's.
    if (start === null || name === '__proto__' || !isFieldValue(value)) return null
    if (name === 'content-length') framed = true
    text = text + start + value
  }
  const declared = framed || body !== null ? declaredLength(request) : null
  if (declared === undefined) return null
  text += declared === 'chunked' ? '\r\ntransfer-encoding: chunked\r\n\r\n' : '\r\n\r\n'
  return { text, length: body === null ? null : declared }
}
