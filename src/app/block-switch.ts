/** The switch of blocks as the admin port offers it: what operators write, in their words, on the gateway's own state. */
import { parseDuration } from '../config/schema.ts'
import { BlockError } from '../core/block.ts'
import type { BlockSwitch } from '../observe/admin-blocks.ts'
import type { SharedState } from './shared-state.ts'

/** As `--for` takes it: `30m`, `1h30m`. @throws BlockError */
export function readFor(text: string): number {
  const ms = parseDuration(text)
  if (ms === null) throw new BlockError(`for: ${JSON.stringify(text)} is no duration (write e.g. 30m, 2h)`)
  return ms
}

export function blockSwitch(shared: SharedState): BlockSwitch {
  return {
    list: () => shared.listBlocks(),
    block: async ({ for: written, from, reason, to }) => {
      try {
        const forMs = readFor(written)
        const answer = await shared.block({ from, to, forMs, reason })
        return { ...answer.block, expires_in_seconds: Math.ceil(forMs / 1000), everywhere: answer.shared }
      } catch (error) {
        if (error instanceof BlockError) return error.message
        throw error
      }
    },
    unblock: async (id) => shared.unblock(id),
  }
}
