/** What a log's path names: a standard stream, made non-blocking, or a file, made with its directory and appended to. */
import { constants, existsSync, fstatSync, mkdirSync, openSync } from 'node:fs'
import { dirname } from 'node:path'

/** Opening the log failed; the message names the path. */
export class SinkError extends Error {
  override readonly name = 'SinkError'
}

export function isStandard(path: string): boolean {
  return path === '/dev/stdout' || path === '/dev/stderr'
}

/** Opens a log for appending; a standard stream is made non-blocking. @throws SinkError */
export function openTarget(path: string): number {
  if (isStandard(path)) {
    const fd = path === '/dev/stdout' ? 1 : 2
    unblock(fd)
    return fd
  }
  try {
    makeDirectory(dirname(path))
    // Non-blocking for the sake of named pipes: opening one without a reader fails instead of stopping the gateway.
    return openSync(path, constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NONBLOCK, 0o644)
  } catch (error) {
    throw new SinkError(`cannot open the log "${path}": ${(error as Error).message}`, { cause: error })
  }
}

/** A write wakes a thread and is told of, which costs more than the bytes of 30 lines. */
const FILE_BATCH = 128 * 1024
/** Less than a pipe holds (64 KB): with a reader that keeps up no write stops in the middle of a line, where others could begin theirs. */
const PIPE_BATCH = 32 * 1024

/** How much is worth writing at a time to an open log, bytes. */
export function batchBytes(fd: number): number {
  return fstatSync(fd).isFile() ? FILE_BATCH : PIPE_BATCH
}

/**
 * Creates a directory and its parents. Not `mkdirSync(…, { recursive: true })`: where the kernel answers ENOENT although
 * the parent is there (below /proc, some network file systems), Node 24 repeats the call forever and the gateway stands still.
 */
function makeDirectory(path: string): void {
  if (existsSync(path)) return
  const parent = dirname(path)
  if (!existsSync(parent)) makeDirectory(parent)
  mkdirSync(path)
}

/** Makes a pipe or socket at fd 1 or 2 non-blocking. Node has no fcntl; looking at its own stream does it (uv_pipe_open). */
function unblock(fd: 1 | 2): void {
  const stat = fstatSync(fd)
  if (stat.isFIFO() || stat.isSocket()) void (fd === 1 ? process.stdout : process.stderr)
}
