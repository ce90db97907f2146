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

/** A port that nobody listens on at this moment. */
export async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as net.AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
