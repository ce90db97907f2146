/** What of the limits outlives a reload: the counts of this process, their file, the tunnels that are metered. */
import { randomUUID } from 'node:crypto'
import type { GatewayModel } from '../../model/gateway.ts'
import type { Log } from '../../observe/log.ts'
import { BudgetFile } from './budget-file.ts'
import { LimitCounts } from './counts.ts'
import { LocalStore } from './local-store.ts'
import type { Meter } from './meter.ts'

/** How often budgets are written, and the bytes of open tunnels counted. */
const EVERY_MS = 1000

export class LimitServices {
  readonly local = new LocalStore({ now: () => performance.now(), time: () => Date.now() })
  readonly counts: LimitCounts
  readonly #log: Log
  readonly #instance = randomUUID()
  readonly #meters = new Set<Meter>()
  #holders = 0
  #file: BudgetFile | null = null
  #saving: NodeJS.Timeout | null = null
  #metering: NodeJS.Timeout | null = null
  #writing = false
  #failed = false
  #closed = false

  constructor(log: Log) {
    this.#log = log
    this.counts = new LimitCounts(log)
  }

  /** Unique among processes. */
  holder(): string {
    this.#holders += 1
    return `${this.#instance}-${this.#holders}`
  }

  /** Reads the budgets that an earlier process has left, once there are budgets here. @throws Error when they cannot be kept */
  prepare({ limits, settings: { stateDirectory } }: GatewayModel): void {
    const kept = limits.some(({ quota, scope }) => quota.kind === 'budget' && scope === 'local')
    if (!kept || stateDirectory === null || this.#file !== null) return
    const file = new BudgetFile(stateDirectory)
    this.local.restore(file.load())
    this.#file = file
    this.#saving = setInterval(() => void this.#save(file), EVERY_MS).unref()
  }

  /** From now on its tunnel is looked at every second. */
  meter(meter: Meter): void {
    this.#meters.add(meter)
    this.#metering ??= setInterval(() => {
      for (const each of this.#meters) each.tick()
    }, EVERY_MS).unref()
  }

  unmeter(meter: Meter): void {
    this.#meters.delete(meter)
    if (this.#meters.size > 0 || this.#metering === null) return
    clearInterval(this.#metering)
    this.#metering = null
  }

  /** Idempotent. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    if (this.#saving !== null) clearInterval(this.#saving)
    if (this.#metering !== null) clearInterval(this.#metering)
    if (this.#file !== null) this.#saveNow(this.#file)
  }

  async #save(file: BudgetFile): Promise<void> {
    if (this.#writing || !this.local.dirty) return
    this.#writing = true
    this.local.dirty = false
    try {
      await file.save(this.local.budgets())
      this.#failed = false
    } catch (error) {
      this.local.dirty = true
      this.#complain(error)
    } finally {
      this.#writing = false
      // What it has put in place is older than what the end wrote.
      if (this.#closed) this.#saveNow(file)
    }
  }

  #saveNow(file: BudgetFile): void {
    try {
      file.saveNow(this.local.budgets())
    } catch (error) {
      this.#complain(error)
    }
  }

  /** Once for each time that it goes wrong, not every second. */
  #complain(error: unknown): void {
    if (!this.#failed) this.#log.error(`budgets could not be written: ${String(error)}`)
    this.#failed = true
  }
}
