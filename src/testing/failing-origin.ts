/** Origins that fail as told, for tests of what the gateway makes of it. */
import type { EndpointModel } from '../model/cluster.ts'
import { type RawOrigin, type RecordedConnection, startRawOrigin } from './origin.ts'

export const OK = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'
export const UNAVAILABLE = 'HTTP/1.1 503 Service Unavailable\r\ncontent-length: 3\r\n\r\nbad'

/** A port that refuses connections. */
export async function deadPort(): Promise<number> {
  const gone = await startRawOrigin()
  await gone.close()
  return gone.port
}

/** Endpoints on 127.0.0.1, all of one priority. */
export function loopbackEndpoints(...ports: readonly number[]): EndpointModel[] {
  return ports.map((port) => ({ address: '127.0.0.1', port, weight: 1, locality: '', priority: 0 }))
}

export type FailingOrigin = AsyncDisposable & {
  readonly origin: RawOrigin
  /** Requests so far. */
  readonly seen: () => number
}

/** Does `misbehave` to the first `bad` requests (of all connections together), answers the others with 200. */
export async function failingOrigin(
  bad: number,
  misbehave: (connection: RecordedConnection) => void,
): Promise<FailingOrigin> {
  let seen = 0
  const origin = await startRawOrigin({
    onRequest: (connection) => {
      seen++
      if (seen <= bad) misbehave(connection)
      else connection.socket.write(OK)
    },
  })
  return { origin, seen: () => seen, [Symbol.asyncDispose]: async () => origin.close() }
}
