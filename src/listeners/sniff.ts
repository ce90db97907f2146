/** Peeks at the first bytes of a stream within a time and size limit, and gives every byte back. */
import type { Duplex } from 'node:stream'

export type SniffOutcome<T> =
  | { readonly kind: 'decided'; readonly value: T }
  | { readonly kind: 'timeout' | 'closed' | 'too-large'; readonly bytes: number }

/**
 * Reads until `decide` answers something other than null, then unshifts all bytes and calls `done`, once.
 * `decide` is given each piece as it comes. The socket must have an error listener; it is left paused.
 * @param timeoutMs how long to wait for a decision
 * @param maxBytes more than this without a decision is `too-large`
 */
export function sniff<T>(
  socket: Duplex,
  timeoutMs: number,
  maxBytes: number,
  decide: (chunk: Buffer) => T | null,
  done: (outcome: SniffOutcome<T>) => void,
): void {
  const chunks: Buffer[] = []
  let length = 0
  const finish = (outcome: SniffOutcome<T>) => {
    clearTimeout(timer)
    socket.off('readable', onReadable)
    socket.off('close', onClosed)
    socket.off('end', onClosed)
    if (length > 0 && !socket.destroyed)
      socket.unshift(chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks))
    done(outcome)
  }
  const onClosed = () => finish({ kind: 'closed', bytes: length })
  const onReadable = () => {
    for (;;) {
      const chunk = socket.read() as Buffer | null
      if (chunk === null) return
      chunks.push(chunk)
      length += chunk.length
      const value = decide(chunk)
      if (value !== null) return finish({ kind: 'decided', value })
      if (length > maxBytes) return finish({ kind: 'too-large', bytes: length })
    }
  }
  const timer = setTimeout(() => finish({ kind: 'timeout', bytes: length }), timeoutMs)
  socket.on('readable', onReadable)
  socket.on('close', onClosed)
  socket.on('end', onClosed)
}
