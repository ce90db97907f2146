/** Reloads, one after the other, all or nothing: each sees the files as they are when its turn comes (contract §9). */
import type { Log } from '../observe/log.ts'
import type { Snapshot } from '../runtime/snapshot.ts'
import type { Audit } from './audit.ts'
import type { Candidate } from './candidate.ts'

export type ReloadResult = { readonly ok: boolean; readonly errors: readonly string[] }

/** `at`: wall clock, milliseconds since the epoch. */
export type LastReload = { readonly successful: boolean; readonly at: number; readonly errors: readonly string[] }

/** What the gateway lends. */
export type Reloadable = {
  readonly prepare: (active: Snapshot) => Candidate
  readonly active: () => Snapshot
  /** All or nothing. Rejects when it cannot be. */
  readonly activate: (next: Snapshot) => Promise<void>
  /** Which files the result depended on. */
  readonly read: (files: readonly string[]) => void
  readonly draining: () => boolean
  readonly log: Log
  readonly audit: Pick<Audit, 'activated' | 'rejected'>
}

export class Reloads {
  readonly #gateway: Reloadable
  #queue: Promise<unknown> = Promise.resolve()
  #last: LastReload = { successful: true, at: Date.now(), errors: [] }

  constructor(gateway: Reloadable) {
    this.#gateway = gateway
  }

  get last(): LastReload {
    return this.#last
  }

  /** Loads the files again; any error keeps what runs. Never rejects. */
  async reload(): Promise<ReloadResult> {
    const result = this.#queue
      .then(() => this.#reload())
      .catch((error: unknown) => this.#rejected([error instanceof Error ? error.message : String(error)]))
    this.#queue = result
    return result
  }

  async #reload(): Promise<ReloadResult> {
    const { activate, active, audit, draining, log, prepare, read } = this.#gateway
    if (draining()) return { ok: false, errors: ['draining'] }
    const before = active()
    const candidate = prepare(before)
    // A load that failed knows no credential paths: those of what runs must go on being watched.
    read([...new Set([...candidate.files, ...active().credentials.inventory.map(({ path }) => path)])])
    if (candidate.kind === 'rejected') return this.#rejected(candidate.errors)
    if (candidate.kind === 'ready') {
      for (const warning of candidate.warnings) log.warning(warning)
      try {
        await activate(candidate.snapshot)
      } catch (error) {
        candidate.snapshot.clusters.retire()
        return this.#rejected([error instanceof Error ? error.message : String(error)])
      }
      audit.activated({ before, after: candidate.snapshot, inventory: candidate.inventory })
    }
    if (candidate.kind === 'unchanged' && !this.#last.successful) log.info('configuration is again what is active')
    this.#last = { successful: true, at: Date.now(), errors: [] }
    if (candidate.kind === 'ready')
      log.info('configuration activated', { generation: active().generation, version: active().model.version })
    return { ok: true, errors: [] }
  }

  #rejected(errors: readonly string[]): ReloadResult {
    const { active, audit, log } = this.#gateway
    audit.rejected(active(), errors)
    this.#last = { successful: false, at: Date.now(), errors }
    for (const error of errors) log.error(error)
    log.error('configuration rejected: the last good one stays active', { generation: active().generation })
    return { ok: false, errors }
  }
}
