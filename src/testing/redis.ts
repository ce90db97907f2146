/**
 * A real redis-server of its own for a test, on a free port, and what can happen to it. Where the program is missing, tests
 * are skipped and say so (`skipWithoutRedis`).
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { lowerRedis, REDIS } from '../config/redis.ts'
import type { RedisSettings } from '../model/redis.ts'
import { eventually } from './eventually.ts'

const SERVER = ['/usr/bin/redis-server', '/usr/local/bin/redis-server'].find((file) => existsSync(file)) ?? null

/** For a command, on a machine that has much else to do, milliseconds. */
const COMMAND_MS = 30_000

/** For node:test's `skip`. */
export const skipWithoutRedis: string | false =
  SERVER === null ? 'redis-server is not installed (Debian: apt-get install redis-server)' : false

export type RedisOptions = {
  /** More command line: `['--requirepass', 'x']`. */
  readonly args?: readonly string[]
  /** Default: a free one. */
  readonly port?: number
  /** A configuration file, which comes first. */
  readonly config?: string
  /** One whose number leaves room for the bus of a Cluster, which listens 10,000 above. */
  readonly lowPort?: boolean
  /** Before the arguments of redis-cli: `['-a', 'x']`, `['--tls', …]`. */
  readonly cli?: readonly string[]
}

export class RedisServer {
  readonly port: number
  readonly #options: RedisOptions
  readonly #dir = mkdtempSync(join(tmpdir(), 'sallyport-redis-'))
  #child: ChildProcess | null = null

  private constructor(port: number, options: RedisOptions) {
    this.port = port
    this.#options = options
  }

  /** Starts one. Close it. */
  static async start(options: RedisOptions = {}): Promise<RedisServer> {
    const server = new RedisServer(options.port ?? (await freeRedisPort(options.lowPort === true)), options)
    await server.restart()
    return server
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`
  }

  /** Empty, since nothing is kept on disk. */
  async restart(): Promise<void> {
    if (SERVER === null) throw new Error('redis-server is not installed')
    const port = this.#options.args?.includes('--tls-port') === true ? [] : ['--port', String(this.port)]
    const args = [...port, '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', this.#dir]
    const config = this.#options.config === undefined ? [] : [this.#options.config]
    const child = spawn(SERVER, [...config, ...args, ...(this.#options.args ?? [])], { stdio: 'ignore' })
    this.#child = child
    await eventually('redis-server answers', async () => {
      if (child.exitCode !== null) throw new Error(`redis-server: exit ${child.exitCode}`)
      try {
        return (await this.command('PING')) === 'PONG'
      } catch {
        return false
      }
    })
  }

  /** What redis-cli prints. */
  async command(...args: readonly string[]): Promise<string> {
    const cli = ['-h', '127.0.0.1', '-p', String(this.port), ...(this.#options.cli ?? []), ...args]
    const { stdout, stderr } = await promisify(execFile)('redis-cli', cli, { timeout: COMMAND_MS })
    if (stderr.includes('Could not connect')) throw new Error(stderr)
    return stdout.trim()
  }

  /** SIGSTOP: connections stay open, nothing is answered. */
  pause(): void {
    this.#child?.kill('SIGSTOP')
  }

  resume(): void {
    this.#child?.kill('SIGCONT')
  }

  /** SIGKILL; resolves when it is gone. */
  async kill(): Promise<void> {
    const child = this.#child
    this.#child = null
    if (child === null || child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  }

  async close(): Promise<void> {
    await this.kill()
    rmSync(this.#dir, { recursive: true, force: true })
  }
}

/** What `spec.redis` with this URL and these fields means. */
export function redisSettings(port: number, more: object = {}): RedisSettings {
  const spec = REDIS.parse({ url: `redis://127.0.0.1:${port}`, ...more })
  const at = () => ({ file: 'gateway.yaml', line: 1, col: 1 })
  const refuse = (_code: string, _at: unknown, message: string) => {
    throw new Error(message)
  }
  const settings = lowerRedis(spec, at, refuse, (path) => path)
  if (settings === null) throw new Error('no settings')
  return settings
}

/** A port that nobody listens on at this moment. `low`: 10,000 above it is below those the system gives to connections, too. */
async function freeRedisPort(low: boolean): Promise<number> {
  const server = net.createServer()
  server.listen(low ? 10_000 + Math.floor(Math.random() * 12_000) : 0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as net.AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

export type Detour = {
  readonly port: number
  /** Milliseconds that every answer is late. */
  delayMs: number
  /** Answers are kept for as long as it is true. */
  held: boolean
  /** Answers that are no Redis', in place of the real ones. */
  garbage: boolean
  close(): Promise<void>
}

/** A way to a server on which answers are late, or turn into something else. */
export async function detourTo(port: number): Promise<Detour> {
  const sockets = new Set<net.Socket>()
  const state = { delayMs: 0, garbage: false }
  let kept: (() => void)[] | null = null
  const server = net.createServer((near) => {
    const far = net.connect(port, '127.0.0.1')
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(socket)
      socket.on('error', () => other.destroy())
      socket.on('close', () => {
        sockets.delete(socket)
        other.destroy()
      })
    }
    near.on('data', (chunk) => {
      if (state.garbage) near.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi')
      else far.write(chunk)
    })
    far.on('data', (chunk) => {
      const { delayMs } = state
      const answer = () => !near.destroyed && near.write(chunk)
      if (kept !== null) kept.push(answer)
      else if (delayMs === 0) answer()
      else setTimeout(answer, delayMs)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as net.AddressInfo).port,
    get delayMs() {
      return state.delayMs
    },
    set delayMs(value) {
      state.delayMs = value
    },
    get held() {
      return kept !== null
    },
    set held(value) {
      const answers = kept ?? []
      kept = value ? answers : null
      if (!value) for (const answer of answers) answer()
    },
    get garbage() {
      return state.garbage
    },
    set garbage(value) {
      state.garbage = value
    },
    async close() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}
