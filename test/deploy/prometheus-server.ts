/** A real Prometheus on loopback: started with a directory of its own, asked through its HTTP API, ended with the test. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { eventually } from '../../src/testing/eventually.ts'
import { freePort } from '../integration/operator.ts'
import { OBSERVABILITY } from './observability-files.ts'

type Labels = Readonly<Record<string, string>>
export type Vector = readonly { readonly metric: Labels; readonly value: number }[]
export type Rule = {
  readonly name: string
  readonly query: string
  readonly health: string
  readonly lastError?: string
}

export type Prometheus = {
  /** An instant query. @throws with Prometheus' own words when it cannot be evaluated */
  query(expr: string): Promise<Vector>
  /** The labels of all series a selector matches. */
  series(selector: string): Promise<readonly Labels[]>
  rules(): Promise<readonly Rule[]>
  /** Names and states of the alerts that are pending or firing. */
  alerts(): Promise<readonly { readonly name: string; readonly state: string }[]>
  /** Of the one target: up or down, and why. */
  target(): Promise<{ readonly health: string; readonly lastError: string }>
  /** Waits until `count` more scrapes have succeeded. */
  scraped(count: number): Promise<void>
}

const JOB = 'sallyport'

/** Scrapes `port` every second, with observability/rules.yaml loaded, and waits until the first scrape is in. */
export async function startPrometheus(t: TestContext, target: { readonly port: number }): Promise<Prometheus> {
  const dir = mkdtempSync(join(tmpdir(), 'sallyport-prometheus-'))
  const port = await freePort()
  cpSync(join(OBSERVABILITY, 'rules.yaml'), join(dir, 'rules.yaml'))
  // JSON is YAML.
  const config = {
    global: { scrape_interval: '1s', evaluation_interval: '1s' },
    rule_files: ['rules.yaml'],
    scrape_configs: [
      {
        job_name: JOB,
        metrics_path: '/stats/prometheus',
        static_configs: [{ targets: [`127.0.0.1:${target.port}`] }],
      },
    ],
  }
  writeFileSync(join(dir, 'prometheus.yml'), JSON.stringify(config))
  const child = spawn(
    'prometheus',
    [
      `--config.file=${join(dir, 'prometheus.yml')}`,
      `--storage.tsdb.path=${join(dir, 'data')}`,
      `--web.listen-address=127.0.0.1:${port}`,
      '--log.level=warn',
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  )
  const said = listen(child)
  const ended = once(child, 'exit')
  t.after(async () => {
    child.kill('SIGKILL')
    await ended
    rmSync(dir, { recursive: true, force: true })
  })
  const prometheus = client(port)
  await eventually(
    'Prometheus has scraped the gateway',
    async () => {
      if (child.exitCode !== null) throw new Error(`prometheus ended with ${child.exitCode}: ${said()}`)
      return (await prometheus.query('up').catch(() => [])).some(({ value }) => value === 1)
    },
    30_000,
  )
  return prometheus
}

function listen(child: ChildProcess): () => string {
  let text = ''
  for (const stream of [child.stdout, child.stderr])
    stream?.setEncoding('utf8').on('data', (part: string) => {
      text += part
    })
  return () => text
}

type Answer<T> = { readonly status: 'success'; readonly data: T } | { readonly status: 'error'; readonly error: string }

function client(port: number): Prometheus {
  const ask = async <T>(path: string, parameters: Readonly<Record<string, string>> = {}): Promise<T> => {
    const response = await fetch(
      `http://127.0.0.1:${port}/api/v1/${path}?${new URLSearchParams(parameters).toString()}`,
    )
    const answer = (await response.json()) as Answer<T>
    if (answer.status === 'error') throw new Error(`${answer.error}: ${JSON.stringify(parameters)}`)
    return answer.data
  }
  const query = async (expr: string): Promise<Vector> => {
    type Result =
      | { readonly resultType: 'scalar'; readonly result: readonly [number, string] }
      | {
          readonly resultType: 'vector'
          readonly result: readonly { readonly metric: Labels; readonly value: readonly [number, string] }[]
        }
    const data = await ask<Result>('query', { query: expr })
    if (data.resultType === 'scalar') return [{ metric: {}, value: Number(data.result[1]) }]
    return data.result.map(({ metric, value }) => ({ metric, value: Number(value[1]) }))
  }
  return {
    query,
    series: (selector) => ask<readonly Labels[]>('series', { 'match[]': selector }),
    rules: async () => {
      const { groups } = await ask<{ readonly groups: readonly { readonly rules: readonly Rule[] }[] }>('rules')
      return groups.flatMap(({ rules }) => rules)
    },
    alerts: async () => {
      const { alerts } = await ask<{
        readonly alerts: readonly { readonly labels: Labels; readonly state: string }[]
      }>('alerts')
      return alerts.map(({ labels, state }) => ({ name: labels['alertname'] ?? '', state }))
    },
    target: async () => {
      const { activeTargets } = await ask<{
        readonly activeTargets: readonly { readonly health: string; readonly lastError: string }[]
      }>('targets')
      return activeTargets[0] ?? { health: 'missing', lastError: '' }
    },
    scraped: async (count) => {
      const time = async () => (await query('timestamp(up) and up == 1'))[0]?.value ?? 0
      for (let i = 0; i < count; i += 1) {
        const before = await time()
        // Not `eventually`: a query every 5 ms would take the processor from the gateway.
        for (let tries = 0; (await time()) <= before; tries += 1) {
          if (tries > 150) throw new Error('no scrape in 30 s')
          await delay(200)
        }
      }
    },
  }
}
