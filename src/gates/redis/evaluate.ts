/** One script over one key, sent by its hash. */
import type { RedisClient } from './client.ts'
import type { Script } from './scripts.ts'

/** Rejects as `RedisClient.call` does. */
export async function evaluate(
  client: Pick<RedisClient, 'call'>,
  script: Script,
  key: string,
  args: readonly string[],
): Promise<unknown> {
  try {
    return await client.call('EVALSHA', [script.sha, '1', key, ...args])
  } catch (error) {
    // A server that has been restarted, or emptied, knows no scripts.
    if (!(error instanceof Error) || !error.message.startsWith('NOSCRIPT')) throw error
    return client.call('EVAL', [script.lua, '1', key, ...args])
  }
}
