/** HTTP/1.1 load by wrk, with a client certificate by preload. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { World } from '../contenders/world.ts'
import { runTool } from '../measure/processes.ts'
import { OUTER_SNI } from './caller.ts'
import { type Expected, PATH, REQUEST_HEADERS } from './exchange.ts'
import { H1_CONNECTIONS, type Load } from './load.ts'

/** Longer than any stall of a busy machine: a timeout is an error of the contender. */
const TIMEOUT_SECONDS = 10
const FIRST_ERROR_STATUS = 400

/** What the script prints at the end. */
export type Report = {
  readonly requests: number
  readonly micros: number
  readonly bytes: number
  readonly broken: number
  readonly statusErrors: number
  readonly p50: number
  readonly p99: number
}

export function environmentOf({ callerFiles }: World, library: string): Readonly<Record<string, string>> {
  return {
    LD_PRELOAD: library,
    CLIENT_CERT: callerFiles.certificateChain,
    CLIENT_KEY: callerFiles.privateKey,
    CLIENT_SNI: OUTER_SNI,
  }
}

/** A constant request; the answers are only counted, so that the generator stays cheap. */
function script(host: string): string {
  const headers = Object.entries({ Host: host, ...REQUEST_HEADERS })
  return `${headers.map(([name, value]) => `wrk.headers["${name}"] = "${value}"`).join('\n')}
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '\\nREPORT {"requests":%d,"micros":%d,"bytes":%d,"broken":%d,"statusErrors":%d,"p50":%.1f,"p99":%.1f}\\n',
    summary.requests, summary.duration, summary.bytes, e.connect + e.read + e.write + e.timeout, e.status,
    latency:percentile(50), latency:percentile(99)))
end
`
}

export function wrkLoad(world: World, library: string): Load {
  return {
    run: async (port, expected, seconds) => {
      const file = join(world.dir, `wrk-${expected.host}.lua`)
      writeFileSync(file, script(expected.host))
      const args = ['-t1', `-c${H1_CONNECTIONS}`, `-d${seconds}s`, '--timeout', `${TIMEOUT_SECONDS}s`, '-s', file]
      const output = await runTool('wrk', [...args, `https://127.0.0.1:${port}${PATH}`], environmentOf(world, library))
      const json = /^REPORT (.*)$/m.exec(output)?.[1]
      if (json === undefined) throw new Error(`wrk printed no summary: ${output}`)
      const report = JSON.parse(json) as Report
      const problem = problemOf(report, expected)
      if (problem !== null) throw new Error(`wrk: ${problem}\n${output}`)
      return {
        requests: report.requests,
        seconds: report.micros / 1e6,
        p50: report.p50 / 1000,
        p99: report.p99 / 1000,
      }
    },
  }
}

/** What is wrong with a run; null: every answer was as expected, as far as wrk can count. */
export function problemOf(report: Report, { status, body }: Expected): string | null {
  const { requests, bytes, broken, statusErrors } = report
  const wanted = status >= FIRST_ERROR_STATUS ? requests : 0
  if (requests === 0) return 'nothing was answered'
  if (broken > 0) return `${broken} connections broke or timed out`
  if (statusErrors !== wanted) return `${statusErrors} of ${requests} answers had an error status, expected ${wanted}`
  if (bytes < requests * body.length) return `${bytes} bytes are too few for ${requests} answers`
  return null
}
