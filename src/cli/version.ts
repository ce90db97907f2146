/** `sallyport version`: name, version, runtime. */
import { parseArgs } from 'node:util'
import { VERSION } from '../core/version.ts'
import { type Io, UsageError } from './io.ts'

export async function version(argv: readonly string[], io: Io): Promise<number> {
  const { output } = parseArgs({
    args: [...argv],
    options: { output: { type: 'string', short: 'o', default: 'text' } },
  }).values
  if (output !== 'text' && output !== 'json') throw new UsageError('-o takes text or json')
  const { node, openssl } = process.versions
  io.stdout.write(
    output === 'json'
      ? `${JSON.stringify({ version: VERSION, node, openssl }, null, 2)}\n`
      : `sallyport ${VERSION} (node ${node}, openssl ${openssl})\n`,
  )
  return 0
}
