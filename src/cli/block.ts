/** `sallyport block`, `unblock`, `blocks`: one switch that stops a workload, everywhere, now. Exit 0 done, 1 not done, 2 usage. */
import { parseArgs } from 'node:util'
import { readFor } from '../app/block-switch.ts'
import { BlockError } from '../core/block.ts'
import { type BlockTarget, blockTarget, type ShownBlock } from './block-target.ts'
import { type Io, UsageError } from './io.ts'

const WHERE = {
  config: { type: 'string', short: 'f' },
  admin: { type: 'string' },
  output: { type: 'string', short: 'o', default: 'text' },
} as const

type Where = { readonly config?: string; readonly admin?: string; readonly output: string }

export async function block(argv: readonly string[], io: Io): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: {
      ...WHERE,
      from: { type: 'string' },
      to: { type: 'string' },
      for: { type: 'string' },
      reason: { type: 'string' },
    },
  })
  const { for: duration, from, reason, to } = values
  if (positionals.length > 0) throw new UsageError(`what is ${JSON.stringify(positionals[0])}?`)
  if (from === undefined || duration === undefined || reason === undefined)
    throw new UsageError('block needs --from, --for and --reason')
  const forMs = readDuration(duration)
  return withTarget(values, io, async (target) => {
    const done = await target.block({ from, to: to ?? null, forMs, reason })
    if (values.output === 'json') io.stdout.write(`${JSON.stringify(done)}\n`)
    else io.stdout.write(`blocked on ${target.name}\n${line(done)}`)
    return 0
  })
}

export async function unblock(argv: readonly string[], io: Io): Promise<number> {
  const { values, positionals } = parseArgs({ args: [...argv], allowPositionals: true, options: WHERE })
  const [id] = positionals
  if (id === undefined || positionals.length > 1) throw new UsageError('unblock needs exactly one id (see blocks)')
  return withTarget(values, io, async (target) => {
    const lifted = await target.unblock(id)
    if (lifted) io.stdout.write(`unblocked ${id} on ${target.name}\n`)
    else io.stderr.write(`sallyport unblock: no block has the id ${JSON.stringify(id)}\n`)
    return lifted ? 0 : 1
  })
}

export async function blocks(argv: readonly string[], io: Io): Promise<number> {
  const { values, positionals } = parseArgs({ args: [...argv], allowPositionals: true, options: WHERE })
  if (positionals.length > 0) throw new UsageError(`what is ${JSON.stringify(positionals[0])}?`)
  return withTarget(values, io, async (target) => {
    const all = await target.list()
    if (values.output === 'json') io.stdout.write(`${JSON.stringify({ blocks: all })}\n`)
    else io.stdout.write(all.length === 0 ? `nothing is blocked on ${target.name}\n` : all.map(line).join(''))
    return 0
  })
}

function readDuration(text: string): number {
  try {
    return readFor(text)
  } catch (error) {
    throw error instanceof BlockError ? new UsageError(error.message) : error
  }
}

async function withTarget(where: Where, io: Io, run: (target: BlockTarget) => Promise<number>): Promise<number> {
  if (where.output !== 'text' && where.output !== 'json')
    throw new UsageError(`-o takes text or json, not ${where.output}`)
  const target = blockTarget(where)
  try {
    return await run(target)
  } catch (error) {
    if (error instanceof UsageError || !(error instanceof Error)) throw error
    const { cause } = error
    io.stderr.write(`sallyport: not done: ${error.message}${cause instanceof Error ? ` (${cause.message})` : ''}\n`)
    return 1
  } finally {
    target.close()
  }
}

function line({ expiresInSeconds, from, id, reason, to }: ShownBlock): string {
  return `${id}  ${from} → ${to ?? 'every host'}  ${span(expiresInSeconds)} left  ${reason}\n`
}

/** 5400 → `1h30m`. */
function span(seconds: number): string {
  const parts = [
    [Math.floor(seconds / 3600), 'h'],
    [Math.floor(seconds / 60) % 60, 'm'],
    [seconds % 60, 's'],
  ] as const
  return parts.map(([amount, unit]) => (amount === 0 ? '' : `${amount}${unit}`)).join('') || '0s'
}
