/**
 * Where log lines go: stdout, stderr or a file, through pino's destination (sonic-boom). Lines are collected here and
 * handed over in batches, since each hand-over costs 10–15 µs (bench/README.md). Memory is capped: when the reader
 * stalls, whole lines are dropped and counted, and traffic goes on. Nothing here ever blocks the event loop.
 *
 * Two traps that shaped this file (both seen on Node 24, Linux):
 * - An `fs.write` on a full *blocking* pipe holds a thread for ever, and then the process cannot even exit. So pipes are
 *   made non-blocking, and a full one answers EAGAIN.
 * - sonic-boom sleeps 100 ms after an EAGAIN, which caps a 64 KB pipe at 640 KB/s. So we do the retrying, from 1 ms up.
 */
import { pino } from 'pino'
import { LineBuffer } from './line-buffer.ts'
import { addStdoutWriter, removeStdoutWriter, stdoutIsClaimed } from './stdout-turns.ts'
import { batchBytes, isStandard, openTarget } from './target.ts'

export type LineSink = {
  /** Takes one whole line, newline included. Never throws, never blocks. */
  write(line: string): void
  /** The same for a line that `make` writes behind those that wait already. Throws what `make` throws, and nothing is taken. */
  writeBytes<T>(make: (of: T, line: LineBuffer) => void, of: T): void
  /** Resolves when every line taken so far is written, or after `timeoutMs` (default 2000). */
  flush(timeoutMs?: number): Promise<void>
  /** Opens the file anew (after log rotation); lines taken before go to the old file. No-op for stdout and stderr. Throws like `createSink`. */
  reopen(): void
  /** Flushes for at most `timeoutMs` (default 2000), then closes. Lines taken later are dropped and counted. Idempotent. */
  close(timeoutMs?: number): Promise<void>
  /** Lines that were not written because the reader was too slow or gone. */
  dropped(): number
  /** Bytes waiting in memory. */
  backlog(): number
}

export type SinkOptions = {
  /** `/dev/stdout`, `/dev/stderr`, or a file: created with its directory, appended to. */
  readonly path: string
  /** Cap on bytes waiting in memory. */
  readonly maxBytes?: number
  /** Told once per kind of write error (ENOSPC, EPIPE …) until a write succeeds again. */
  readonly onError?: (error: Error) => void
}

type Destination = ReturnType<typeof pino.destination>
type Code = { readonly code?: string }

const DEFAULT_MAX_BYTES = 8 * 1024 * 1024
/** Memory for lines, as a part of what is handed over at a time: most lines that exceed that still fit in. */
const BATCH_ROOM = 1.25
/** What is not enough to be handed over is after this long: the contract promises 200 ms from the ending to the write. */
const BATCH_MS = 100
const RETRY_MIN_MS = 1
const RETRY_MAX_MS = 50
/** Other errors (disk full, reader gone) are tried again at this pace. */
const ERROR_RETRY_MS = 1000
const EXIT_GRACE_MS = 250
const DEFAULT_FLUSH_MS = 2000

/** Opens the sink. Throws SinkError when the path cannot be opened. */
export function createSink(options: SinkOptions): LineSink {
  const maxBytes = options.maxBytes ?? DEFAULT_MAX_BYTES
  const fd = openTarget(options.path)
  const enough = batchBytes(fd)
  // Lines are written once, and as bytes, not as a string that is made anew at every step.
  const batch = new LineBuffer(enough * BATCH_ROOM)
  let batchLines = 0
  let timer: NodeJS.Timeout | null = null
  let dropped = 0
  let closed: Promise<void> | null = null
  let lastError = ''
  const report = (error: Error) => {
    const code = (error as Code).code ?? error.message
    if (code === lastError) return
    lastError = code
    options.onError?.(error)
  }
  const onProgress = () => {
    lastError = ''
  }
  let outlet = createOutlet(fd, report, onProgress)
  /** Outlets of before a reopen that still have bytes to write. */
  const old = new Set<Outlet>()

  const onStdout = options.path === '/dev/stdout'
  /** A batch was due while it was another's turn. */
  let held = false

  const handOver = () => {
    if (timer !== null) clearTimeout(timer)
    timer = null
    if (batchLines === 0) return
    // The audit stream is in the middle of a line there; it says when it is not.
    if (onStdout && stdoutIsClaimed()) {
      held = true
      return
    }
    const lines = batchLines
    batchLines = 0
    // The outlet keeps what it is given until that is written.
    if (!outlet.write(batch.take())) dropped += lines
  }
  const backlog = () => {
    let bytes = batch.length + outlet.waiting()
    for (const each of old) bytes += each.waiting()
    return bytes
  }
  /** A line stands at the end of the batch, from `start` on; `room`: as many bytes as it may have. */
  const added = (start: number, room: number) => {
    if (batch.length - start > room) {
      batch.length = start
      dropped += 1
      return
    }
    batchLines += 1
    if (batch.length >= enough) handOver()
    else timer ??= setTimeout(handOver, BATCH_MS)
  }
  const onExit = () => {
    handOver()
    outlet.finishNow()
  }
  const turns = {
    busy: () => outlet.waiting() > 0,
    resume: () => {
      if (held) handOver()
      held = false
    },
  }
  if (onStdout) addStdoutWriter(turns)
  // Before pino's own exit hook, which would wait for a stalled reader for ever.
  process.prependListener('exit', onExit)

  const flush = async (timeoutMs = DEFAULT_FLUSH_MS) => {
    handOver()
    await Promise.all([outlet, ...old].map((each) => each.drained(timeoutMs)))
  }

  return {
    write(line) {
      const room = maxBytes - backlog()
      if (closed !== null || line.length > room) {
        dropped += 1
        return
      }
      const start = batch.length
      batch.encoded(line)
      added(start, room)
    },
    writeBytes(make, of) {
      const room = maxBytes - backlog()
      if (closed !== null || room <= 0) {
        dropped += 1
        return
      }
      const start = batch.length
      try {
        make(of, batch)
      } catch (error) {
        batch.length = start
        throw error
      }
      added(start, room)
    },
    flush,
    reopen() {
      if (closed !== null || isStandard(options.path)) return
      const next = createOutlet(openTarget(options.path), report, onProgress)
      handOver()
      const before = outlet
      outlet = next
      old.add(before)
      void before.drained(DEFAULT_FLUSH_MS).then(() => {
        old.delete(before)
        return before.end()
      })
    },
    close(timeoutMs = DEFAULT_FLUSH_MS) {
      closed ??= (async () => {
        await flush(timeoutMs)
        process.removeListener('exit', onExit)
        removeStdoutWriter(turns)
        await outlet.end()
      })()
      return closed
    },
    dropped: () => dropped,
    backlog,
  }
}

/** One open file descriptor with the batches on their way to it. */
type Outlet = {
  /** False: the destination is gone (pino ends it on `beforeExit`). */
  write(bytes: Buffer): boolean
  /** Bytes handed over and not yet written. */
  waiting(): number
  /** Resolves when everything handed over so far is written, or after `timeoutMs`. */
  drained(timeoutMs: number): Promise<void>
  end(): Promise<void>
  /** Synchronously, for the `exit` event: what can be written within EXIT_GRACE_MS is, the rest is lost. */
  finishNow(): void
}

function createOutlet(fd: number, report: (error: Error) => void, onProgress: () => void): Outlet {
  let handed = 0
  let written = 0
  let delay = 0
  let retry: NodeJS.Timeout | null = null
  let ended = false
  let exitDeadline = 0
  const waiters = new Set<{ readonly until: number; readonly done: () => void }>()

  const destination: Destination = pino.destination({
    dest: fd,
    sync: false,
    contentMode: 'buffer',
    // 1, not 0: with 0 sonic-boom's flush() does nothing, and flush() is how a retry starts.
    minLength: 1,
    maxWrite: 256 * 1024,
    retryEAGAIN: () => Date.now() < exitDeadline,
  })
  // pino's own listener turns the destination into a silent hole after EPIPE; we count instead.
  destination.removeAllListeners('error')
  destination.on('error', (error: Error) => {
    if (ended || retry !== null) return
    if ((error as Code).code === 'EAGAIN' || (error as Code).code === 'EBUSY') {
      delay = Math.min(RETRY_MAX_MS, Math.max(RETRY_MIN_MS, delay * 2))
    } else {
      delay = ERROR_RETRY_MS
      report(error)
    }
    retry = setTimeout(() => {
      retry = null
      if (!ended) destination.flush()
    }, delay)
    // A reader that never reads must not keep the process alive.
    retry.unref()
  })
  destination.on('write', (bytes: number) => {
    written += bytes
    delay = 0
    if (bytes > 0) onProgress()
    for (const waiter of waiters) if (written >= waiter.until) waiter.done()
  })

  return {
    write(bytes) {
      try {
        // With `contentMode: 'buffer'` bytes are what it takes, whatever its types say.
        destination.write(bytes as unknown as string)
        handed += bytes.length
        return true
      } catch {
        return false
      }
    },
    waiting: () => handed - written,
    drained(timeoutMs) {
      if (written >= handed) return Promise.resolve()
      return new Promise((resolve) => {
        const done = () => {
          clearTimeout(limit)
          waiters.delete(waiter)
          resolve()
        }
        const waiter = { until: handed, done }
        const limit = setTimeout(done, timeoutMs)
        waiters.add(waiter)
      })
    },
    end() {
      if (ended) return Promise.resolve()
      ended = true
      if (retry !== null) clearTimeout(retry)
      return new Promise((resolve) => {
        destination.once('close', () => resolve())
        // Whatever is left was given its time by the caller.
        destination.destroy()
      })
    },
    finishNow() {
      if (ended) return
      ended = true
      exitDeadline = Date.now() + EXIT_GRACE_MS
      try {
        if (written < handed) destination.flushSync()
      } catch {
        // The reader did not take it in time; there is nobody left to tell.
      }
      destination.destroy()
    },
  }
}
