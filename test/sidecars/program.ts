/** Programs from the distribution that stand in for a mesh's sidecars: found or named as missing, started, ended. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import type { Harness } from '../../src/testing/harness.ts'

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
  readonly ca: string
}

/** The SVID of a workload (`NS/SA`) as files. */
export async function workloadFiles(files: Scratch, { pki }: Harness, identity: string): Promise<WorkloadFiles> {
  const { cert, key, ca } = await pki.svid(identity)
  const name = identity.replace('/', '-')
  return {
    cert: files.write(`${name}.crt`, cert),
    key: files.write(`${name}.key`, key),
    both: files.write(`${name}.pem`, `${cert}\n${key}`),
    ca: files.write('ca.pem', ca),
  }
}

/**
 * Starts a server in the foreground and waits until `readyPort` takes connections; it ends with the test.
 * @throws when it ends before that, with what it said
 */
export async function startServer(
  t: TestContext,
  program: string,
  args: readonly string[],
  readyPort: number,
): Promise<void> {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (part) => (said += part))
  const ended = once(child, 'exit')
  t.after(async () => {
    child.kill('SIGKILL')
    await ended
  })
  await eventually(`${program} listens`, () => {
    if (child.exitCode !== null) throw new Error(`${program} ended with ${child.exitCode}: ${said}`)
    return accepts(readyPort)
  })
}

async function accepts(port: number): Promise<boolean> {
  const socket = connect({ host: '127.0.0.1', port })
  return new Promise((resolve) => {
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
  }).then((answer) => {
    socket.destroy()
    return answer === true
  })
}

export type Finished = { readonly code: number | null; readonly stdout: string; readonly stderr: string }

/** Runs a client to its end. `input` is written to it at once; its standard input stays open until it ends. */
export async function runClient(program: string, args: readonly string[], input = ''): Promise<Finished> {
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'], timeout: 15_000, killSignal: 'SIGKILL' })
  let [stdout, stderr] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (part: string) => (stdout += part))
  child.stderr.setEncoding('utf8').on('data', (part: string) => (stderr += part))
  child.stdin.on('error', () => {})
  child.stdin.write(input)
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, stdout, stderr }
}
