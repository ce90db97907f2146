/** The control ports as an operator or a probe uses them. */
import { once } from 'node:events'
import http from 'node:http'
import net from 'node:net'
import type { Endpoint } from '../../src/model/settings.ts'
import type { Harness } from '../../src/testing/harness.ts'
import { type Answer, readAnswer } from '../../src/testing/mesh-client.ts'

type ControlName = 'admin' | 'metrics' | 'health'

export async function ask(port: number, path: string, method = 'GET'): Promise<Answer> {
  const req = http.request({ host: '127.0.0.1', port, path, method, agent: false })
  req.end()
  const [response] = (await once(req, 'response')) as [http.IncomingMessage]
  return readAnswer(response)
}

export async function askControl(harness: Harness, name: ControlName, path: string, method = 'GET'): Promise<Answer> {
  const endpoint: Endpoint | undefined = harness.gateway.control?.[name]
  if (endpoint === undefined) throw new Error('the control ports are closed')
  return ask(endpoint.port, path, method)
}

/** A sample of the metrics port: `name` or `name{a="b"}` exactly as exposed; null when there is none. */
export async function sample(harness: Harness, series: string): Promise<number | null> {
  return sampleOf((await askControl(harness, 'metrics', '/stats/prometheus')).body, series)
}

export function sampleOf(exposition: string, series: string): number | null {
  const line = exposition.split('\n').find((each) => each.startsWith(`${series} `))
  return line === undefined ? null : Number(line.slice(series.length + 1))
}

/** One value of `/stats`; null when there is no such statistic. */
export async function stat(harness: Harness, name: string): Promise<number | null> {
  const { body } = await askControl(harness, 'admin', '/stats')
  const line = body.split('\n').find((each) => each.startsWith(`${name}: `))
  return line === undefined ? null : Number(line.slice(name.length + 2))
}

/**
 * A port that nobody listens on at this moment: below those that the system hands out, so that no other server and no outgoing connection
 * gets it in the meantime.
 */
export async function freePort(): Promise<number> {
  for (let tries = 0; ; tries += 1) {
    const port = 10_000 + Math.floor(Math.random() * 20_000)
    const server = net.createServer()
    try {
      await once(server.listen(port, '127.0.0.1'), 'listening')
    } catch (error) {
      if (tries < 50) continue
      throw error
    }
    server.close()
    await once(server, 'close')
    return port
  }
}
