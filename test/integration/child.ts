/** The real thing: `bin/sallyport` as a child process, as a container would start it. */
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { Readable } from 'node:stream'
import type { TestContext } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import { GATEWAY_ID } from '../../src/testing/harness.ts'
import { createTestPki } from '../../src/testing/pki.ts'

const SALLYPORT = join(import.meta.dirname, '..', '..', 'bin', 'sallyport')

export type Workspace = { readonly dir: string; readonly bootstrap: string; write(file: string, text: string): string }

/** A directory with an identity, a bootstrap file (every port picked by the system) and these resource files. */
export async function workspace(
  t: TestContext,
  resources: Readonly<Record<string, string>>,
  spec: object = {},
): Promise<Workspace> {
  const dir = mkdtempSync(join(tmpdir(), 'sallyport-child-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  const write = (file: string, text: string) => {
    const path = join(dir, file)
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, text)
    return path
  }
  const identity = (await (await createTestPki()).svid(GATEWAY_ID)).writeTo(join(dir, 'identity'))
  const anywhere = { address: '127.0.0.1', port: 0 }
  const bootstrap = write(
    'gateway.yaml',
    JSON.stringify({
      apiVersion: 'sallyport.dev/v1',
      kind: 'EgressGateway',
      metadata: { name: 'istio-egressgateway', namespace: 'istio-system', labels: { istio: 'egressgateway' } },
      spec: {
        resources: ['./resources'],
        identity,
        bindAddress: '127.0.0.1',
        ports: { 80: 0 },
        drainDuration: '10s',
        admin: anywhere,
        metrics: anywhere,
        health: anywhere,
        ...spec,
      },
    }),
  )
  mkdirSync(join(dir, 'resources'))
  for (const [name, text] of Object.entries(resources)) write(`resources/${name}`, text)
  return { dir, bootstrap, write }
}

export type Finished = { readonly code: number | null; readonly stdout: string; readonly stderr: string }

/** Runs a command to its end; one that does not end is killed and has no exit code. */
export async function sallyport(
  args: readonly string[],
  options: { readonly cwd?: string; readonly env?: NodeJS.ProcessEnv } = {},
): Promise<Finished> {
  const child = spawn(SALLYPORT, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 60_000,
    killSignal: 'SIGKILL',
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
  })
  let [stdout, stderr] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (part: string) => (stdout += part))
  child.stderr.setEncoding('utf8').on('data', (part: string) => (stderr += part))
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, stdout, stderr }
}

type ReadyLine = {
  readonly ports: Readonly<Record<string, number>>
  readonly control: Readonly<Record<'admin' | 'metrics' | 'health', string>>
}

export type Running = {
  readonly child: ChildProcessByStdio<null, Readable, Readable>
  /** The port bound for Gateway port 80. */
  readonly port: number
  control(name: 'admin' | 'metrics' | 'health'): number
  readonly stderr: () => string
  /** Waits for a line of the operational log. */
  said(message: string | RegExp): Promise<void>
  /** Resolves with exit code and signal. */
  readonly ended: Promise<{ readonly code: number | null; readonly signal: string | null }>
}

/** `sallyport run`; stdout is left alone, for the test to read or not to read. Killed when the test ends. */
export async function run(t: TestContext, bootstrap: string): Promise<Running> {
  const child = spawn(SALLYPORT, ['run', '-f', bootstrap], { stdio: ['ignore', 'pipe', 'pipe'] })
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', (part: string) => (stderr += part))
  const ended = once(child, 'exit').then(([code, signal]) => ({
    code: code as number | null,
    signal: signal as string | null,
  }))
  t.after(async () => {
    child.kill('SIGKILL')
    await ended
  })
  const ready = await eventually<ReadyLine>('the gateway is ready', () => {
    if (child.exitCode !== null) throw new Error(`exit ${child.exitCode}: ${stderr}`)
    const line = stderr.split('\n').find((each) => each.includes('"gateway ready"'))
    return line === undefined ? null : (JSON.parse(line) as ReadyLine)
  })
  return {
    child,
    port: ready.ports['80'] ?? 0,
    control: (name) => Number(ready.control[name].split(':').at(-1)),
    stderr: () => stderr,
    said: async (message) => {
      await eventually(`stderr says ${message}`, () =>
        typeof message === 'string' ? stderr.includes(message) : message.test(stderr),
      )
    },
    ended,
  }
}
