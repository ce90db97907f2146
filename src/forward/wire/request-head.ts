/** The head of an outgoing request as it goes over the wire: built from what was judged, never copied from what was received. */
import { fieldsAreCarriable } from '../../core/headers.ts'
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
  if (method === 'CONNECT' || !METHOD.test(method) || !TARGET.test(target) || !fieldsAreCarriable(headers)) return null
  const declared = declaredLength(request)
  if (declared === undefined) return null
  // Joined once: a string grown field by field leaves four others behind for each.
  const parts = [method, ' ', target, ' HTTP/1.1\r\n']
  for (let i = 0; i < headers.length; i += 2) parts.push(headers[i] as string, ': ', headers[i + 1] as string, '\r\n')
  parts.push(declared === 'chunked' ? 'transfer-encoding: chunked\r\n\r\n' : '\r\n')
  return { text: parts.join(''), length: body === null ? null : declared }
}
