/** Where `block`, `unblock` and `blocks` take effect: Redis, and so every gateway, or the admin port of one gateway. */
import path from 'node:path'
import { type BlockRequest, newBlock } from '../app/shared-state.ts'
import { readBootstrap } from '../config/bootstrap.ts'
import { formatDiagnostic } from '../config/diagnostics.ts'
import { collectDiagnostics } from '../config/report.ts'
import { type Block, BlockError } from '../core/block.ts'
import { BlockRegister } from '../gates/blocks/register.ts'
import type { RedisSettings } from '../model/redis.ts'
import type { Settings } from '../model/settings.ts'
import { UsageError } from './io.ts'

export type ShownBlock = Block & { readonly expiresInSeconds: number }

export type BlockTarget = {
  /** For people: `all gateways of redis.example:6379`. */
  readonly name: string
  /** @throws UsageError when it is no block, an Error when it cannot be set */
  block(request: BlockRequest): Promise<ShownBlock>
  /** False: there is none of that id. */
  unblock(id: string): Promise<boolean>
  list(): Promise<readonly ShownBlock[]>
  close(): void
}

/** How long a command waits for Redis or a gateway. */
const TIMEOUT_MS = 5000

/** @throws UsageError when neither is given, or the bootstrap file cannot be read */
export function blockTarget(options: { readonly config?: string; readonly admin?: string }): BlockTarget {
  if (options.admin !== undefined) return adminTarget(options.admin)
  if (options.config === undefined) throw new UsageError('name the bootstrap file (-f) or an admin port (--admin URL)')
  const { admin, redis } = settingsOf(options.config)
  if (redis !== null) return redisTarget(redis)
  const address = admin.address === '0.0.0.0' ? '127.0.0.1' : admin.address === '::' ? '::1' : admin.address
  return adminTarget(`http://${address.includes(':') ? `[${address}]` : address}:${admin.port}`)
}

/** The bootstrap alone: resources that are broken must not keep anybody from blocking. */
function settingsOf(file: string): Settings {
  const { report, sorted } = collectDiagnostics()
  const { settings } = readBootstrap(path.resolve(file), { display: () => file }, report)
  const problems = sorted().filter(({ severity }) => severity === 'error')
  if (settings === null) throw new UsageError(`${file}: ${problems.map(formatDiagnostic).join('\n')}`)
  return settings
}

function redisTarget(settings: RedisSettings): BlockTarget {
  const register = new BlockRegister(settings)
  const nodes = settings.nodes.map(({ host, port }) => `${host}:${port}`).join(', ')
  return {
    name: `every gateway that shares ${nodes}`,
    async block(request) {
      const block = asUsage(() => newBlock(request))
      await register.ready(TIMEOUT_MS)
      await register.put(block, request.forMs)
      return { ...block, expiresInSeconds: Math.ceil(request.forMs / 1000) }
    },
    async unblock(id) {
      await register.ready(TIMEOUT_MS)
      const { entries } = await register.lift(id)
      return entries.some((entry) => entry.id === id)
    },
    async list() {
      await register.ready(TIMEOUT_MS)
      const { entries } = await register.read()
      return entries.flatMap(({ block, remainingMs }) =>
        block === null ? [] : [{ ...block, expiresInSeconds: Math.ceil(remainingMs / 1000) }],
      )
    },
    close: () => register.close(),
  }
}

function asUsage<T>(read: () => T): T {
  try {
    return read()
  } catch (error) {
    throw error instanceof BlockError ? new UsageError(error.message) : error
  }
}

function adminTarget(url: string): BlockTarget {
  if (!URL.canParse('/blocks', url) || !/^https?:/.test(url)) throw new UsageError(`--admin takes a URL, not ${url}`)
  const ask = async (method: string, query: Readonly<Record<string, string>>): Promise<Response> => {
    const target = new URL('/blocks', url)
    for (const [name, value] of Object.entries(query)) target.searchParams.set(name, value)
    return fetch(target, { method, signal: AbortSignal.timeout(TIMEOUT_MS) })
  }
  const failed = async (response: Response): Promise<Error> => {
    const [first = ''] = (await response.text()).split('\n')
    return response.status === 400 ? new UsageError(first) : new Error(`${url} answered ${response.status}: ${first}`)
  }
  return {
    name: `the gateway at ${url}`,
    async block({ forMs, from, reason, to }) {
      const written = { from, for: `${forMs}ms`, reason, ...(to === null ? {} : { to }) }
      const response = await ask('POST', written)
      if (!response.ok) throw await failed(response)
      return shown(await response.json())
    },
    async unblock(id) {
      const response = await ask('DELETE', { id })
      if (!response.ok && response.status !== 404) throw await failed(response)
      return response.ok
    },
    async list() {
      const response = await ask('GET', {})
      if (!response.ok) throw await failed(response)
      const { blocks } = (await response.json()) as { readonly blocks: readonly unknown[] }
      return blocks.map(shown)
    },
    close: () => undefined,
  }
}

/** Of the admin port's JSON. */
function shown(value: unknown): ShownBlock {
  const {
    id,
    from,
    to,
    reason,
    expires_in_seconds: expiresInSeconds,
  } = value as Block & {
    readonly expires_in_seconds: number
  }
  return { id, from, to, reason, expiresInSeconds }
}
