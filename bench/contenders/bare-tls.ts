/** `bench/bare-tls-server.ts` as a contender. */
import { join } from 'node:path'
import { eventually } from '../../src/testing/eventually.ts'
import { start } from '../measure/processes.ts'
import type { Contender } from './contender.ts'
import type { World } from './world.ts'

const SCRIPT = join(import.meta.dirname, '../bare-tls-server.ts')
const NODE = join(import.meta.dirname, '../../bin/sallyport-node')

export async function startBareTls({ gatewayFiles }: World, name: string): Promise<Contender> {
  const { certificateChain, privateKey, trustBundle } = gatewayFiles
  const running = start(NODE, [SCRIPT, certificateChain, privateKey, trustBundle], { measured: true })
  const port = await eventually(`${name} listens`, () => {
    running.assertAlive()
    return /^port (\d+)$/m.exec(running.stderr())?.[1]
  })
  return { name, running, port: Number(port), log: null }
}
