/** HTTP/2 load by h2load, with a client certificate by preload. */
import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { World } from '../contenders/world.ts'
import { runTool } from '../measure/processes.ts'
import { PATH, REQUEST_HEADERS } from './exchange.ts'
import { H2_CONNECTIONS, H2_STREAMS, type Load } from './load.ts'
import { environmentOf } from './wrk.ts'

export function h2Load(world: World, library: string): Load {
  const log = join(world.dir, 'h2load.log')
  const headers = Object.entries(REQUEST_HEADERS).flatMap(([name, value]) => ['-H', `${name}: ${value}`])
  return {
    run: async (port, { host, status }, seconds) => {
      rmSync(log, { force: true })
      const output = await runTool(
        'h2load',
        [
          ...['-t1', `-c${H2_CONNECTIONS}`, `-m${H2_STREAMS}`, '-D', String(seconds), `--log-file=${log}`],
          ...[...headers, `--connect-to=127.0.0.1:${port}`, `https://${host}${PATH}`],
        ],
        environmentOf(world, library),
      )
      if (!/Application protocol: h2\n/.test(output)) throw new Error(`h2load spoke no HTTP/2: ${output}`)
      const broken = /(\d+) failed, (\d+) errored, (\d+) timeout/.exec(output)
      if (broken === null || broken.slice(1).some((count) => count !== '0')) throw new Error(`h2load: ${output}`)
      const micros: number[] = []
      for (const line of readFileSync(log, 'latin1').split('\n')) {
        if (line === '') continue
        const [, code, took] = line.split('\t')
        if (Number(code) !== status) throw new Error(`h2load: expected ${status}, got ${line}\n${output}`)
        micros.push(Number(took))
      }
      if (micros.length === 0) throw new Error(`h2load: nothing was answered: ${output}`)
      micros.sort((a, b) => a - b)
      const at = (share: number) => (micros[Math.floor((micros.length - 1) * share)] ?? 0) / 1000
      return { requests: micros.length, seconds, p50: at(0.5), p99: at(0.99) }
    },
  }
}
