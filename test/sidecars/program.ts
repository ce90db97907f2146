/** Programs from the distribution that stand in for a mesh's sidecars: found or named as missing, started, ended. */
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import type { Harness } from '../../src/testing/harness.ts'
import type { TestPki } from '../../src/testing/pki.ts'

/** The name in the gateway's certificate: the SNI of programs that verify the name they send. */
export const GATEWAY_NAME = 'istio-egressgateway.istio-system.svc.cluster.local'

/** For `{ skip }`: false when the program can be run, else what is missing. `probe` prints its version. */
export function missing(program: string, probe: readonly string[]): string | false {
  const { error } = spawnSync(program, probe, { stdio: 'ignore' })
  return error === undefined ? false : `${program} is not installed`
}

export type Scratch = { readonly dir: string; write(name: string, text: string): string }

/** A directory of its own, gone when the test is over. */
export function scratch(t: TestContext): Scratch {
  const dir = mkdtempSync(join(tmpdir(), 'sallyport-sidecar-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  return {
    dir,
    write: (name, text) => {
      const path = join(dir, name)
      writeFileSync(path, text, { mode: 0o600 })
      return path
    },
  }
}

export type WorkloadFiles = {
  readonly cert: string
  readonly key: string
  /** Certificate and key in one file, as HAProxy wants them. */
  readonly both: string
}

/** The SVIDs of workloads (`NS/SA`) as files, each made once. */
export function workloadFilesIn(files: Scratch, { pki }: Harness): (identity: string) => Promise<WorkloadFiles> {
  const made = new Map<string, Promise<WorkloadFiles>>()
  return (identity) => {
    const known = made.get(identity) ?? writeSvid(files, pki, identity)
    made.set(identity, known)
    return known
  }
}

async function writeSvid(files: Scratch, pki: TestPki, identity: string): Promise<WorkloadFiles> {
  const { cert, key } = await pki.svid(identity)
  const name = identity.replace('/', '-')
  return {
    cert: files.write(`${name}.crt`, cert),
    key: files.write(`${name}.key`, key),
    both: files.write(`${name}.pem`, `${cert}\n${key}`),
  }
}

/** A connection to a socket file: servers listen on those, so that no port can be taken from under them. */
export async function connectTo(path: string): Promise<Socket> {
  const socket = connect({ path })
  await once(socket, 'connect')
  return socket
}

/**
 * Starts a server in the foreground and waits until all its socket files are there and it takes connections on the last one,
 * which leads nowhere; it ends with the test.
 * @throws when it ends before that, with what it said
 */
export async function startServer(
  t: TestContext,
  program: string,
  args: readonly string[],
  entrances: readonly string[],
  ready: string,
): Promise<void> {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (part) => (said += part))
  const ended = once(child, 'exit')
  t.after(async () => {
    child.kill('SIGKILL')
    await ended
  })
  await eventually(`${program} listens`, async () => {
    if (child.exitCode !== null) throw new Error(`${program} ended with ${child.exitCode}: ${said}`)
    if (!entrances.every((path) => existsSync(path))) return false
    try {
      const socket = await connectTo(ready)
      return socket.destroy()
    } catch {
      return false
    }
  })
}

export type Finished = { readonly code: number | null; readonly stdout: string; readonly stderr: string }

/** A client with its three pipes, which does not outlive a minute. */
export function startClient(program: string, args: readonly string[]): ChildProcessWithoutNullStreams {
  return spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'], timeout: 60_000, killSignal: 'SIGKILL' })
}

/** Runs a client to its end. `input` is written to it at once; its standard input stays open until it ends. */
export async function runClient(program: string, args: readonly string[], input = ''): Promise<Finished> {
  const child = startClient(program, args)
  let [stdout, stderr] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (part: string) => (stdout += part))
  child.stderr.setEncoding('utf8').on('data', (part: string) => (stderr += part))
  child.stdin.on('error', () => {})
  child.stdin.write(input)
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, stdout, stderr }
}
