/** A log that nobody reads. */
import type { Log } from '../observe/log.ts'

const silent = (): void => undefined

export const SILENT: Log = {
  debug: silent,
  info: silent,
  warning: silent,
  error: silent,
  critical: silent,
  child: () => SILENT,
  level: () => 'off',
  setLevel: silent,
}
