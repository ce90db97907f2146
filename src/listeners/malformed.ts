/** Requests the parser could not read: answered, recorded once, and the connection closed (contract §5). */
import type { Socket } from 'node:net'
import type { RefusalKind } from '../core/refusal.ts'
import { newRecord } from '../observe/record.ts'
import { httpConnections } from './connection.ts'
import type { Environment } from './environment.ts'
import { lastHead, lingeringClose } from './raw-answer.ts'
import { refusalRow, renderRefusal } from './reply.ts'

/**
 * Ends a connection whose bytes are no request. `kind` null: the caller is gone, nobody to answer. `code`: the parser's, or
 * for a CONNECT its target.
 * Answers that are still running on the connection are let finish first: they were asked for properly.
 */
export function endMalformed(environment: Environment, socket: Socket, kind: RefusalKind | null, code: string): void {
  const http = httpConnections.get(socket)
  if (http === undefined) return void socket.destroy()
  // Already being closed: what still arrives is thrown away, so that the answer reaches the caller.
  if (http.poisoned) return void (kind === null && socket.destroy())
  if (kind === null && http.exchanges.size > 0) {
    // The connection died under running exchanges; each of them records its own end.
    return void socket.destroy()
  }
  http.poisoned = true
  // A connection opened ahead of need that never said anything: there is nothing to answer and nothing to record.
  if (kind === 'header_timeout' && socket.bytesRead === 0) return void socket.destroy()
  if (kind === null && code !== 'HPE_INVALID_EOF_STATE') return void socket.destroy()
  const record = newRecord('http', http.connection, Date.now())
  record.protocol = 'HTTP/1.1'
  http.stats.downstream_rq_total += 1
  if (kind === null) {
    record.flags.push('DC')
    record.responseCodeDetails = 'downstream_remote_disconnect'
    socket.destroy()
    return environment.finish(record)
  }
  if (kind === 'connect_refused') {
    record.method = 'CONNECT'
    record.authority = code
  }
  if (kind === 'headers_too_large') http.stats.downstream_rq_too_large += 1
  const row = refusalRow({ kind })
  const reply = renderRefusal({ kind }, false)
  if (row.flag !== null) record.flags.push(row.flag)
  record.responseCode = row.status
  record.reason = row.reason
  record.responseCodeDetails = kind === 'bad_request' ? `http1.codec_error{${code}}` : row.details
  record.responseHeaders = reply.headers
  const klass = Math.floor(row.status / 100)
  http.stats.downstream_rq_xx[klass] = (http.stats.downstream_rq_xx[klass] ?? 0) + 1
  environment.finish(record)
  const answer = () => lingeringClose(socket, lastHead(reply.status, reply.headers) + reply.body)
  if (http.exchanges.size === 0) answer()
  else http.whenIdle = answer
}
