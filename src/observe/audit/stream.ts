/**
 * The audit stream's destination: whole lines, in order, written before `write` returns, never dropped. A file takes them
 * synchronously (O_APPEND). What a full pipe or disk does not take is kept, tried again before anything newer, and told
 * to whoever runs this: after `maxBytes` of it the gateway must take no more callers until there is room (`full`).
 */
import { closeSync, fstatSync, statSync, writeSync } from 'node:fs'
import { claimStdout, releaseStdout } from '../access-log/stdout-turns.ts'
import { openTarget } from '../access-log/target.ts'

export type AuditStreamOptions = {
  /** `/dev/stdout`, or a file: created with its directory, appended to, opened anew when it has been moved away. */
  readonly path: string
  /** Kept in memory at most before `full`. Default 8 MiB. */
  readonly maxBytes?: number
  /** Of a reader that is merely slow, milliseconds; other errors count at once. Default 1000. */
  readonly graceMs?: number
  /** Once per outage, and with null at its end. */
  readonly onState?: (error: Error | null) => void
  /** When as much is waiting as may. */
  readonly onFull?: () => void
  /** Once, when the file has been moved away and no new one can be opened: lines go on into the old one. */
  readonly onStray?: (error: Error) => void
}

const DEFAULT_MAX_BYTES = 8 * 1024 * 1024
const DEFAULT_GRACE_MS = 1000
/** How long one `write` waits for room in a pipe: readers that keep up need microseconds. */
const PATIENCE_MS = 5
const RETRY_MIN_MS = 2
const RETRY_MAX_MS = 250
/** How often it is looked whether the file has been moved away. */
const LOOK_MS = 1000
const DEFAULT_CLOSE_MS = 2000

const pause = new Int32Array(new SharedArrayBuffer(4))

export class AuditStream {
  readonly #path: string
  readonly #maxBytes: number
  readonly #graceMs: number
  readonly #onState: (error: Error | null) => void
  readonly #onStray: (error: Error) => void
  readonly #onFull: () => void
  readonly #shared: boolean
  #fd: number
  /** Lines on their way; of the first, `#offset` bytes are written. */
  #waiting: Buffer[] = []
  #waitingBytes = 0
  #offset = 0
  #waitingSince = 0
  #failure: Error | null = null
  #timer: NodeJS.Timeout | null = null
  #retryMs = RETRY_MIN_MS
  #lookedAt = 0
  /** The file was moved away and a new one cannot be opened: said once. */
  #strayed = false
  #closed = false

  /** @throws SinkError when it cannot be opened */
  constructor(options: AuditStreamOptions) {
    this.#path = options.path
    this.#maxBytes = options.maxBytes ?? DEFAULT_MAX_BYTES
    this.#graceMs = options.graceMs ?? DEFAULT_GRACE_MS
    this.#onState = options.onState ?? (() => undefined)
    this.#onStray = options.onStray ?? (() => undefined)
    this.#onFull = options.onFull ?? (() => undefined)
    this.#shared = options.path === '/dev/stdout'
    this.#fd = openTarget(options.path)
  }

  /** Takes one whole line, newline included. Never throws. */
  write(line: string): void {
    const bytes = Buffer.from(line)
    if (this.#waiting.length === 0) this.#waitingSince = performance.now()
    this.#waiting.push(bytes)
    this.#waitingBytes += bytes.length
    // Behind others it waits for its turn: a stalled reader must not cost every caller the patience again.
    if (this.#waiting.length === 1) this.#flush(PATIENCE_MS)
    // Once: when it has just become so.
    if (this.full && this.#waitingBytes - bytes.length < this.#maxBytes) this.#onFull()
  }

  /** Something is waiting that could not be written; null: all is well. */
  get failure(): Error | null {
    return this.#failure
  }

  /** As much is waiting as may. */
  get full(): boolean {
    return this.#waitingBytes >= this.#maxBytes
  }

  /** Lines that are not written yet. */
  get backlog(): number {
    return this.#waiting.length
  }

  /** Tries for at most `timeoutMs`, then closes. What could not be written comes back. Idempotent. */
  async close(timeoutMs = DEFAULT_CLOSE_MS): Promise<readonly string[]> {
    if (this.#closed) return []
    const deadline = performance.now() + timeoutMs
    while (this.#waiting.length > 0 && performance.now() < deadline) {
      this.#flush(0)
      if (this.#waiting.length > 0) await new Promise((resolve) => setTimeout(resolve, 5))
    }
    this.#closed = true
    if (this.#timer !== null) clearTimeout(this.#timer)
    if (this.#shared) releaseStdout()
    else closeSync(this.#fd)
    return this.#waiting.splice(0).map(String)
  }

  /** Writes what waits, in order, until the destination takes no more. */
  #flush(patienceMs: number): void {
    if (this.#closed) return
    this.#followFile()
    // Between two lines of the access log only: it hands over whole lines in batches, and a pipe may take half a batch.
    if (this.#shared && !claimStdout()) return this.#later(null)
    const deadline = performance.now() + patienceMs
    for (;;) {
      const [line] = this.#waiting
      if (line === undefined) return this.#done()
      try {
        this.#offset += writeSync(this.#fd, line, this.#offset)
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException
        const busy = code === 'EAGAIN' || code === 'EBUSY' || code === 'EINTR'
        if (!busy) return this.#later(error as Error)
        if (performance.now() >= deadline) return this.#later(null)
        Atomics.wait(pause, 0, 0, 1)
      }
      if (this.#offset < line.length) continue
      this.#waiting.shift()
      this.#waitingBytes -= line.length
      this.#offset = 0
      this.#waitingSince = performance.now()
      this.#retryMs = RETRY_MIN_MS
    }
  }

  #done(): void {
    if (this.#shared) releaseStdout()
    if (this.#failure === null) return
    this.#failure = null
    this.#onState(null)
  }

  /** `error` null: the reader is slow, which is no failure before the grace is over. */
  #later(error: Error | null): void {
    const late = performance.now() - this.#waitingSince > this.#graceMs
    const failure = error ?? (late ? new Error(`the reader of ${this.#path} does not read`) : null)
    if (failure !== null && this.#failure === null) {
      this.#failure = failure
      this.#onState(failure)
    }
    if (this.#timer !== null) return
    this.#timer = setTimeout(() => {
      this.#timer = null
      this.#flush(0)
    }, this.#retryMs)
    this.#timer.unref()
    this.#retryMs = Math.min(RETRY_MAX_MS, this.#retryMs * 2)
  }

  /** After log rotation lines go to the new file; half a line begins there anew. */
  #followFile(): void {
    if (this.#shared) return
    const now = performance.now()
    if (now - this.#lookedAt < LOOK_MS && this.#failure === null) return
    this.#lookedAt = now
    try {
      const there = statSync(this.#path, { throwIfNoEntry: false })
      const ours = fstatSync(this.#fd)
      if (there !== undefined && there.ino === ours.ino && there.dev === ours.dev) return
      const next = openTarget(this.#path)
      closeSync(this.#fd)
      this.#fd = next
      this.#offset = 0
      this.#strayed = false
    } catch (error) {
      // The old file still takes what comes; nothing is lost while the new one cannot be opened.
      if (!this.#strayed) this.#onStray(error as Error)
      this.#strayed = true
    }
  }
}
