/** Requests that ask for another protocol leave the wire's connection with their socket: nothing behind them is HTTP/1.1. */
import type { Socket } from 'node:net'
import type { HeaderList } from '../../core/attributes.ts'
import { lists } from '../../core/headers.ts'
import type { RequestHead } from '../../core/http1/request-head.ts'
import type { Http1Handlers } from '../http1.ts'
import type { Http1Request } from '../http1-request.ts'
import { UpgradeDownstream } from '../upgrade-downstream.ts'

/** `Upgrade`, and `Connection` names it: without that the field is for somebody else (RFC 9110 §7.8). */
export function asksToUpgrade(fields: HeaderList): boolean {
  let upgrade = false
  let named = false
  for (let i = 0; i < fields.length; i += 2) {
    if (fields[i] === 'upgrade') upgrade = true
    else if (fields[i] === 'connection') named ||= lists(fields[i + 1] as string, 'upgrade')
  }
  return upgrade && named
}

/** `early`: what came behind the head. The socket is paused, has an error listener, and is read by nobody. */
export function handOver(head: RequestHead, socket: Socket, early: Buffer, handlers: Http1Handlers): void {
  const downstream = new UpgradeDownstream(described(head), socket, early)
  const events = handlers.request(socket, downstream)
  if (events === null) socket.resume()
  else downstream.watch(events)
}

function described({ method, target, minorVersion, fields, framing }: RequestHead): Http1Request {
  const authorities: string[] = []
  const expected: string[] = []
  for (let i = 0; i < fields.length; i += 2) {
    if (fields[i] === 'host') authorities.push(fields[i + 1] as string)
    else if (fields[i] === 'expect') expected.push((fields[i + 1] as string).toLowerCase())
  }
  return {
    protocol: minorVersion === 1 ? 'HTTP/1.1' : 'HTTP/1.0',
    method,
    target,
    authorities,
    headers: fields,
    hasBody: framing !== 0,
    expects: expected.length === 0 ? 'nothing' : expected.join() === '100-continue' ? '100-continue' : 'other',
  }
}
