/** What a command may touch of the process: tests hand in their own. */
export type Output = { write(text: string): unknown }
export type Io = { readonly stdout: Output; readonly stderr: Output }

/** Thrown by argument parsing; exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}
