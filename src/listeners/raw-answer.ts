/** HTTP/1.1 answers written to the socket itself, where no parser's response object is there to do it, and the end after them. */
import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'

/** Envoy's delayed close: how long a caller may go on sending what nobody will read, milliseconds. */
export const DELAYED_CLOSE_MS = 1000

/** `headers`: flat, complete, framing included. */
export function rawHead(status: number, headers: readonly string[]): string {
  let head = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n`
  for (let i = 0; i < headers.length; i += 2) head += `${headers[i]}: ${headers[i + 1]}\r\n`
  return `${head}\r\n`
}

/** With the fields that the last answer on a connection has. */
export function lastHead(status: number, headers: readonly string[]): string {
  const dated = headers.some((name, i) => i % 2 === 0 && name === 'date')
  return rawHead(status, [...headers, ...(dated ? [] : ['date', new Date().toUTCString()]), 'connection', 'close'])
}

/** Being ended already: asked for again, that would cut them short. */
const lingering = new WeakSet<Socket>()

/**
 * Ends a connection after what is still to be written. What the caller goes on sending is thrown away meanwhile: with
 * unread bytes the system would send RST, and the answer would be lost on its way.
 */
export function lingeringClose(socket: Socket, last: string | null = null): void {
  if (lingering.has(socket)) return
  if (!socket.writable) return void socket.destroy()
  lingering.add(socket)
  if (last === null) socket.end()
  else socket.end(last)
  socket.resume()
  setTimeout(() => socket.destroy(), DELAYED_CLOSE_MS)
}
