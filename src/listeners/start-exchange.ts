/** A request arrives on a connection: its exchange begins now, waits for its turn, or never begins. */
import type { Downstream, DownstreamEvents } from './downstream.ts'
import type { Environment, HttpConnection } from './environment.ts'
import { Exchange } from './exchange.ts'

/** Requests a caller may send ahead on one HTTP/1.1 connection; as many as HTTP/2 lets run at once. */
const MAX_PIPELINED = 100

/**
 * Starts judging and carrying a request. null: the connection is doomed, nothing on it is a request any more.
 * Pipelined requests take turns: run at once, one connection could open any number to the outside, and what the caller
 * meant to happen in order (RFC 9112 §9.3.2) would not.
 */
export function startExchange(
  environment: Environment,
  http: HttpConnection,
  downstream: Downstream,
): DownstreamEvents | null {
  if (http.poisoned) return null
  if (downstream.protocol !== 'HTTP/2' && http.exchanges.size >= MAX_PIPELINED) {
    // What was asked for so far is answered; the caller has to ask for the rest again, as after any close.
    http.poisoned = true
    http.whenIdle ??= () => downstream.reset()
    return null
  }
  const exchange = new Exchange(environment, http, downstream)
  http.exchanges.add(exchange)
  if (downstream.protocol === 'HTTP/2' || http.exchanges.size === 1) exchange.run()
  return exchange
}
