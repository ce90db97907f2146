/** W3: bytes through tunnels, from site to caller. The ends are those of `bench:tunnel`. */
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { startNginxTunnel } from '../contenders/nginx-tunnel.ts'
import type { TunnelContender } from '../contenders/tunnel.ts'
import { cpuSeconds, residentBytes } from '../measure/processes.ts'
import type { Sample } from '../measure/rounds.ts'
import { startHaproxy, startSallyport } from '../tunnel-contenders.ts'
import { type Case, Load } from '../tunnel-load.ts'
import type { Bench, Workload } from './bench.ts'

const CHECKOUT = join(import.meta.dirname, '../..')
const NAMES = { own: 'Sallyport', haproxy: 'HAProxy', splice: 'HAProxy, splice', nginx: 'nginx, 64 KB' } as const
const SLICE_TIMEOUT_MS = 120_000

type Way = Case['way']

const workload = (way: Way, connections: number): Workload => ({
  title: `${way === 'passthrough' ? 'SNI passthrough' : 'TLS in mTLS'}, site to caller, ${connections} connection${connections === 1 ? '' : 's'}`,
  columns: {
    cost: 'CPU ns per byte',
    digits: 3,
    details: [
      { name: 'GB/s', digits: 2 },
      { name: 'RSS MB', digits: 0 },
    ],
    bases: [NAMES.haproxy, NAMES.splice, NAMES.nginx],
  },
  prepare: async (bench) => {
    const { options } = bench
    const load = await Load.start(bench.world.pki)
    const what: Case = { way, ends: 'raw', direction: 'down', connections }
    const started: TunnelContender[] = []
    const stop = async () => {
      for (const contender of started) contender.stop()
      load.close()
    }
    try {
      for await (const contender of contenders(bench, load, way)) started.push(contender)
    } catch (error) {
      await stop()
      throw error
    }
    const notes = [`${options.megabytes} MB per slice, all connections together.`]
    if (way === 'mtls') notes.push('nginx cannot do it: no SNI inside its mTLS.')
    else if (bench.tools.has('nginx') && !started.some(({ name }) => name === NAMES.nginx))
      notes.push('nginx: absent, it has no stream module (libnginx-mod-stream).')
    return {
      subjects: started.map((contender) => ({
        name: contender.name,
        measure: () => slice(load, contender, what, options.megabytes * 1e6),
      })),
      rounds: options.rounds,
      warmUp: 1,
      notes,
      stop,
    }
  },
})

export const W3 = [workload('passthrough', 1), workload('passthrough', 32), workload('mtls', 1), workload('mtls', 32)]

async function* contenders({ world, tools }: Bench, load: Load, way: Way): AsyncGenerator<TunnelContender> {
  const { pki } = world
  const directory = (name: string) => join(world.directory(name), 'files')
  yield await startSallyport(NAMES.own, CHECKOUT, pki, load.ports, directory('sallyport-tunnel'))
  const splice = ['splice-request', 'splice-response']
  const haproxies = [
    await startHaproxy(NAMES.haproxy, [], pki, load.ports, directory('haproxy-tunnel')),
    // Bytes that must be decrypted cannot be spliced.
    way === 'mtls' ? null : await startHaproxy(NAMES.splice, splice, pki, load.ports, directory('haproxy-splice')),
  ]
  for (const haproxy of haproxies) if (haproxy !== null) yield haproxy
  const nginx =
    way === 'passthrough' && tools.has('nginx') ? await startNginxTunnel(world, NAMES.nginx, load.ports.raw) : null
  if (nginx !== null) yield nginx
}

async function slice(load: Load, { name, pid, ports }: TunnelContender, what: Case, bytes: number): Promise<Sample> {
  const times: number[] = []
  const cpu = () => {
    times.push(performance.now())
    return cpuSeconds(pid)
  }
  const timeout = new AbortController()
  // The ends count what arrives; when it stops arriving they would wait for ever.
  const late = delay(SLICE_TIMEOUT_MS, null, { signal: timeout.signal }).then(
    () => Promise.reject(new Error(`${name}: ${bytes} bytes did not arrive within ${SLICE_TIMEOUT_MS} ms`)),
    () => null,
  )
  const port = ports[what.way] ?? 0
  const cost = await Promise.race([load.run(port, what, bytes, cpu), late]).finally(() => timeout.abort())
  if (cost === null) throw new Error(`${name}: interrupted`)
  const seconds = ((times.at(-1) ?? 0) - (times[0] ?? 0)) / 1000
  return { cost, details: [bytes / seconds / 1e9, residentBytes(pid) / 2 ** 20] }
}
