/**
 * The processes of a benchmark: what is measured runs on the first core, everything else (this process too) on the
 * second. CPU time and memory are those of a whole process tree, from /proc.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs'
import os from 'node:os'

/** Clock ticks per second in /proc/PID/stat (USER_HZ, 100 on every Linux). */
const TICKS = 100
const PAGE_BYTES = 4096
const MEASURED_CORE = '0'
const OTHER_CORE = '1'

export const PINNED = os.availableParallelism() > 1 && spawnSync('taskset', ['-c', MEASURED_CORE, 'true']).status === 0

/** All threads of this process, and what it starts later, go to the second core. */
export function pinSelf(): void {
  if (PINNED) spawnSync('taskset', ['-a', '-p', '-c', OTHER_CORE, String(process.pid)])
}

export type Running = {
  readonly pid: number
  /** What it wrote to standard error so far. */
  readonly stderr: () => string
  /** @throws when it has ended by itself: what it measured would be nothing. */
  assertAlive(): void
  /** SIGKILL, and waits until it is gone; idempotent. */
  stop(): Promise<void>
}

type StartOptions = {
  readonly measured: boolean
  /** Standard output is appended to this file; default: discarded. */
  readonly stdout?: string
}

const RUNNING = new Set<ChildProcess>()

export function start(command: string, args: readonly string[], { measured, stdout }: StartOptions): Running {
  const [file, list] = measured && PINNED ? ['taskset', ['-c', MEASURED_CORE, command, ...args]] : [command, [...args]]
  const descriptor = stdout === undefined ? null : openSync(stdout, 'a')
  // As installed: the compile cache is a checkout's own (bin/sallyport-node), and V8's code is some 5–10 % dearer with it.
  const env = measured ? { ...process.env, NODE_DISABLE_COMPILE_CACHE: '1' } : process.env
  // In a group of its own, which ends as a whole: nginx' workers outlive a master that is killed.
  const child = spawn(file, list, { stdio: ['ignore', descriptor ?? 'ignore', 'pipe'], detached: true, env })
  if (descriptor !== null) closeSync(descriptor)
  RUNNING.add(child)
  let text = ''
  let ended: string | null = null
  child.stderr?.on('data', (chunk: Buffer) => (text = (text + chunk.toString()).slice(-65_536)))
  child.once('error', (error) => (ended = error.message))
  const exited = once(child, 'exit').then(
    ([code, signal]) => (ended ??= `exit ${code ?? signal}`),
    () => {},
  )
  void exited.finally(() => RUNNING.delete(child))
  return {
    pid: child.pid ?? 0,
    stderr: () => text,
    assertAlive: () => {
      if (ended !== null) throw new Error(`${command} ended by itself (${ended}): ${text.slice(-4000)}`)
    },
    stop: async () => {
      killGroup(child)
      await exited
    },
  }
}

/** For the way out on a signal, when there is no time to wait. */
export function killAll(): void {
  for (const child of RUNNING) killGroup(child)
}

function killGroup({ pid }: ChildProcess): void {
  if (pid === undefined) return
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // Gone already.
  }
}

/** A load generator's run, on the second core. @throws with its output when it does not exit with 0 */
export async function runTool(
  command: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<string> {
  const child = spawn(command, [...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
    detached: true,
  })
  RUNNING.add(child)
  let text = ''
  const collect = (chunk: Buffer) => (text += chunk.toString())
  child.stdout.on('data', collect)
  child.stderr.on('data', collect)
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null]
  RUNNING.delete(child)
  if (code !== 0) throw new Error(`${command}: exit ${code ?? signal}: ${text}`)
  return text
}

type Stat = { readonly parent: number; readonly ticks: number; readonly pages: number }

/** null: gone. `pid (comm) state ppid …`; comm may hold anything, so it is cut off at its last parenthesis. */
function readStat(pid: number): Stat | null {
  let text: string
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'utf8')
  } catch {
    return null
  }
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  const field = (number: number) => Number(fields[number - 3])
  // utime, stime, and those of children that were waited for.
  return { parent: field(4), ticks: field(14) + field(15) + field(16) + field(17), pages: field(24) }
}

function tree(root: number): readonly Stat[] {
  const all = new Map<number, Stat>()
  for (const name of readdirSync('/proc')) {
    const stat = /^\d+$/.test(name) ? readStat(Number(name)) : null
    if (stat !== null) all.set(Number(name), stat)
  }
  const below = (pid: number): Stat[] => {
    const stat = all.get(pid)
    const children = [...all].filter(([, { parent }]) => parent === pid)
    return [...(stat === undefined ? [] : [stat]), ...children.flatMap(([child]) => below(child))]
  }
  return below(root)
}

/** User and system time of a process and its descendants, seconds. */
export function cpuSeconds(root: number): number {
  return tree(root).reduce((sum, { ticks }) => sum + ticks, 0) / TICKS
}

/** Resident memory of a process and its descendants, bytes; pages that they share count once each. */
export function residentBytes(root: number): number {
  return tree(root).reduce((sum, { pages }) => sum + pages, 0) * PAGE_BYTES
}
