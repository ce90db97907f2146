/**
 * Whose turn it is on stdout: the access log hands over batches that a pipe may take in halves, and the audit stream
 * writes line by line beside it. While the audit stream has claimed it, no batch is handed over, so neither tears the
 * other's lines. One file descriptor, so this is the process's, not an object's.
 */

export type StdoutWriter = {
  /** Bytes are on their way, perhaps half of a line. */
  readonly busy: () => boolean
  /** What was held back may go. */
  readonly resume: () => void
}

const writers = new Set<StdoutWriter>()
let claimed = false

/** Of a sink that writes there, until it is closed. */
export function addStdoutWriter(writer: StdoutWriter): void {
  writers.add(writer)
}

export function removeStdoutWriter(writer: StdoutWriter): void {
  writers.delete(writer)
}

/** True: batches have to wait. */
export function stdoutIsClaimed(): boolean {
  return claimed
}

/** From now on nothing else begins there. True: and nothing is under way, it is the claimer's. */
export function claimStdout(): boolean {
  claimed = true
  for (const writer of writers) if (writer.busy()) return false
  return true
}

export function releaseStdout(): void {
  if (!claimed) return
  claimed = false
  for (const writer of writers) writer.resume()
}
