/** `sallyport version`: name, version, runtime. */
import { VERSION } from '../core/version.ts'
import type { Io } from './io.ts'

export async function version(_argv: readonly string[], io: Io): Promise<number> {
  io.stdout.write(`sallyport ${VERSION} (node ${process.versions.node}, openssl ${process.versions.openssl})\n`)
  return 0
}
