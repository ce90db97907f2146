/**
 * Tells when configuration files have changed and come to rest. Directory events make it quick; a slow poll of contents
 * makes it certain (mounted volumes lose events, and some file systems have none). It never reads a file for meaning.
 */
import { createHash } from 'node:crypto'
import { type FSWatcher, watch } from 'node:fs'
import { readdir, readFile, stat } from 'node:fs/promises'
import path from 'node:path'
import { MAX_FILE_BYTES } from './files.ts'

export type WatchOptions = {
  /** A change counts once nothing has changed for this long (contract §9). */
  readonly stableMs?: number
  /** How often contents are compared without an event. */
  readonly pollMs?: number
}

export type ConfigurationWatcher = {
  /**
   * Watches these paths instead, e.g. after a reload named other certificates. A path that is new counts as changed: between
   * the reload that read it and our first look it may have been replaced, and one reload too many harms nobody.
   */
  readonly update: (paths: readonly string[]) => void
  /** Ends all watching; no callback after it. Idempotent. */
  readonly close: () => void
}

const MAX_DEPTH = 16
/** File systems stamp times in steps; a file younger than this may change again under the same stamp. */
const RACY_MS = 2_000
/** A save is a burst of events; one look serves them all. */
const EVENT_DELAY_MS = 20

type CachedHash = { readonly stamp: string; readonly hash: string; readonly readAt: number }

/**
 * Watches files and directories (recursively; hidden names are skipped, so of a Kubernetes volume the visible links are
 * followed). Paths need not exist. `onChange` is called after contents differ from those at the last call (or at the start)
 * and have been stable; it must not throw. Start it before the first load, or a change in between is missed. Timers do not
 * keep the process alive.
 */
export function watchConfiguration(
  paths: readonly string[],
  onChange: () => void,
  options: WatchOptions = {},
): ConfigurationWatcher {
  return new Watcher(paths, onChange, options.stableMs ?? 200, options.pollMs ?? 5_000)
}

class Watcher implements ConfigurationWatcher {
  readonly #onChange: () => void
  readonly #stableMs: number
  readonly #poll: NodeJS.Timeout
  readonly #watchers = new Map<string, FSWatcher>()
  #names: ReadonlyMap<string, Names> = new Map()
  readonly #cache = new Map<string, CachedHash>()
  #paths: readonly string[]
  #next: NodeJS.Timeout | null = null
  #closed = false
  /** Path → contents at the last call of onChange; null until the first look. */
  #known: ReadonlyMap<string, string> | null = null
  #last: ReadonlyMap<string, string> = new Map()
  #changedAt = 0
  #looking = false
  #lookAgain = false

  constructor(paths: readonly string[], onChange: () => void, stableMs: number, pollMs: number) {
    this.#paths = paths
    this.#onChange = onChange
    this.#stableMs = stableMs
    this.#poll = setInterval(() => void this.#look(), pollMs)
    this.#poll.unref()
    void this.#look()
  }

  readonly update = (paths: readonly string[]): void => {
    this.#paths = paths
    void this.#look()
  }

  readonly close = (): void => {
    this.#closed = true
    clearInterval(this.#poll)
    if (this.#next !== null) clearTimeout(this.#next)
    for (const watcher of this.#watchers.values()) watcher.close()
    this.#watchers.clear()
  }

  /** Looks in a while; an earlier appointment stays. */
  #soon(ms: number): void {
    if (this.#closed || this.#next !== null) return
    this.#next = setTimeout(() => {
      this.#next = null
      void this.#look()
    }, ms)
    this.#next.unref()
  }

  /** One look at a time. Never rejects: what cannot be read is a content like any other. */
  async #look(): Promise<void> {
    if (this.#looking) {
      this.#lookAgain = true
      return
    }
    this.#looking = true
    const paths = this.#paths
    const scan = new Scan(this.#cache)
    const now = new Map<string, string>()
    for (const each of paths) now.set(each, await scan.digest(each))
    scan.prune()
    this.#looking = false
    if (this.#closed) return
    this.#follow(scan.directories)
    this.#judge(now)
    if (this.#lookAgain) {
      this.#lookAgain = false
      this.#soon(EVENT_DELAY_MS)
    }
  }

  #judge(now: ReadonlyMap<string, string>): void {
    const at = performance.now()
    if (differs(now, this.#last)) this.#changedAt = at
    this.#last = now
    if (this.#known === null) this.#known = now
    if (!differs(now, this.#known)) return
    const rest = this.#changedAt + this.#stableMs - at
    // A millisecond more, so that the timer does not fire just before the time is up.
    if (rest > 0) return this.#soon(rest + 1)
    this.#known = now
    this.#onChange()
  }

  /** Events are taken from directories, never from files: editors and volumes replace files by renaming. */
  #follow(directories: ReadonlyMap<string, Names>): void {
    this.#names = directories
    for (const [directory, watcher] of this.#watchers) {
      if (directories.has(directory)) continue
      watcher.close()
      this.#watchers.delete(directory)
    }
    for (const directory of directories.keys()) {
      if (this.#watchers.has(directory)) continue
      try {
        const watcher = watch(directory, { persistent: false }, (_event, name) => {
          if (concerns(this.#names.get(directory), name)) this.#soon(EVENT_DELAY_MS)
        })
        const drop = () => {
          watcher.close()
          if (this.#watchers.get(directory) === watcher) this.#watchers.delete(directory)
        }
        watcher.on('error', drop)
        this.#watchers.set(directory, watcher)
      } catch {
        // Out of inotify watches, or gone already: the poll still sees the contents.
      }
    }
  }
}

/** Which entries of a directory matter. */
type Names = ReadonlySet<string> | 'all'

/** An access log in the directory of the bootstrap file changes all the time, and is no reason to look. */
function concerns(names: Names | undefined, name: string | null): boolean {
  // `..data` is how a Kubernetes volume exchanges all of its files at once.
  return name === null || names === undefined || names === 'all' || names.has(name) || name.startsWith('..')
}

/** True when a path of `now` is new or has other contents than `before`; paths that are no longer watched do not count. */
function differs(now: ReadonlyMap<string, string>, before: ReadonlyMap<string, string>): boolean {
  for (const [file, digest] of now) if (before.get(file) !== digest) return true
  return false
}

/** One look: a digest of names and contents for each path, and the directories whose events matter. */
class Scan {
  readonly directories = new Map<string, Set<string> | 'all'>()
  readonly #cache: Map<string, CachedHash>
  readonly #used = new Set<string>()

  constructor(cache: Map<string, CachedHash>) {
    this.#cache = cache
  }

  async digest(given: string): Promise<string> {
    // The parent too: it reports when the path itself, perhaps a link, is replaced.
    const parent = path.dirname(given)
    const names = this.directories.get(parent)
    if (names === undefined) this.directories.set(parent, new Set([path.basename(given)]))
    else if (names !== 'all') names.add(path.basename(given))
    const lines: string[] = []
    await this.#entry(given, 0, lines)
    return createHash('sha256').update(lines.join('\n')).digest('hex')
  }

  prune(): void {
    for (const file of this.#cache.keys()) if (!this.#used.has(file)) this.#cache.delete(file)
  }

  async #entry(file: string, depth: number, lines: string[]): Promise<void> {
    try {
      const facts = await stat(file, { bigint: true })
      if (facts.isDirectory()) {
        if (depth > MAX_DEPTH) return
        this.directories.set(file, 'all')
        lines.push(`directory ${file}`)
        for (const name of (await readdir(file)).sort()) {
          if (!name.startsWith('.')) await this.#entry(path.join(file, name), depth + 1, lines)
        }
        return
      }
      if (!facts.isFile()) return
      const stamp = [facts.dev, facts.ino, facts.size, facts.mtimeNs, facts.ctimeNs].join(' ')
      lines.push(`file ${file} ${facts.size > MAX_FILE_BYTES ? stamp : await this.#hash(file, stamp, facts.ctimeMs)}`)
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown'
      lines.push(`${code} ${file}`)
    }
  }

  /** The content's hash; read again only when the file's stamp changed, or is too young to tell. */
  async #hash(file: string, stamp: string, changedAt: bigint): Promise<string> {
    this.#used.add(file)
    const cached = this.#cache.get(file)
    if (cached !== undefined && cached.stamp === stamp && cached.readAt - Number(changedAt) > RACY_MS)
      return cached.hash
    const readAt = Date.now()
    const hash = createHash('sha256')
      .update(await readFile(file))
      .digest('hex')
    this.#cache.set(file, { stamp, hash, readAt })
    return hash
  }
}
