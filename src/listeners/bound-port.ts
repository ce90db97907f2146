/** One bound port: accepts, limits, counts; what a connection means is looked up in the active snapshot. */
import { once } from 'node:events'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { type ListenerStats, newListenerStats } from '../core/stats.ts'
import { acceptConnection } from './connection.ts'
import type { Environment } from './environment.ts'

export type BoundPort = {
  readonly gatewayPort: number
  /** Really bound. */
  readonly port: number
  readonly stats: ListenerStats
  /** Stops accepting; open connections go on. */
  close(): void
}

/** Binds. @throws the system's error when the port cannot be bound */
export async function bindPort(
  environment: Environment,
  gatewayPort: number,
  address: string,
  port: number,
): Promise<BoundPort> {
  let stats: ListenerStats | null = null
  const server: Server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    if (stats === null) return void socket.destroy()
    const { maxConnections } = environment.active().settings.http
    if (environment.draining() || (maxConnections > 0 && environment.connections.size >= maxConnections)) {
      stats.downstream_cx_overflow += 1
      socket.on('error', () => {})
      return void socket.destroy()
    }
    acceptConnection(environment, stats, gatewayPort, socket)
  })
  server.listen({ host: address, port, exclusive: true })
  await once(server, 'listening')
  // EMFILE and the like: the listener goes on, the connection is lost, the operator is told.
  server.on('error', (error) => environment.warn(`accept failed: ${error.message}`, { gatewayPort }))
  const bound = (server.address() as AddressInfo).port
  stats = newListenerStats(`${address}_${bound}`)
  return { gatewayPort, port: bound, stats, close: () => void server.close() }
}
