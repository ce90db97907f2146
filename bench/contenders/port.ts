/** Ports of programs that cannot be asked which one they took: chosen before, and waited for. */
import { once } from 'node:events'
import net from 'node:net'
import { eventually } from '../../src/testing/eventually.ts'
import type { Running } from '../measure/processes.ts'

export async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as net.AddressInfo
  server.close()
  return port
}

/** @throws when the process ends instead, with what it said */
export async function listening(port: number, running: Running): Promise<void> {
  await eventually(`something listens on port ${port}`, () => {
    running.assertAlive()
    return reachable(port)
  })
}

async function reachable(port: number): Promise<boolean> {
  const socket = net.connect(port, '127.0.0.1')
  const connected = await once(socket, 'connect').then(
    () => true,
    () => false,
  )
  socket.destroy()
  return connected
}
