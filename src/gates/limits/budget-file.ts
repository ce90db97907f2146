/**
 * Local budgets on disk: `budgets.json` in the state directory, replaced as a whole (written aside, synced, renamed) at
 * most once a second and at the end, so that a crash costs what was used in its last second and never the file.
 */
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs'
import { open, rename } from 'node:fs/promises'
import path from 'node:path'
import type { BudgetState } from './budget-table.ts'

type Budgets = Iterable<readonly [string, BudgetState]>

export class BudgetFile {
  readonly #file: string
  readonly #aside: string

  constructor(directory: string) {
    this.#file = path.join(directory, 'budgets.json')
    this.#aside = `${this.#file}.new`
  }

  /** Also makes sure that it can be written. @throws Error when it cannot, or is none: an unknown budget is no full one */
  load(): ReadonlyMap<string, BudgetState> {
    const fail = (error: unknown) =>
      new Error(`state of budgets, ${this.#file}: ${error instanceof Error ? error.message : String(error)}`)
    try {
      mkdirSync(path.dirname(this.#file), { recursive: true })
      closeSync(openSync(this.#aside, 'w', 0o600))
    } catch (error) {
      throw fail(error)
    }
    let text: string
    try {
      text = readFileSync(this.#file, 'utf8')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return new Map()
      throw fail(error)
    }
    try {
      return parse(text)
    } catch (error) {
      throw fail(`${String(error)}; repair it, or remove it to start all budgets anew`)
    }
  }

  /** @throws what the file system throws */
  async save(budgets: Budgets): Promise<void> {
    const text = print(budgets)
    const file = await open(this.#aside, 'w', 0o600)
    try {
      await file.writeFile(text)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(this.#aside, this.#file)
  }

  /** The same at once, for the end, apart from a `save` that may be under way. @throws what the file system throws */
  saveNow(budgets: Budgets): void {
    const aside = `${this.#file}.last`
    const file = openSync(aside, 'w', 0o600)
    try {
      writeSync(file, print(budgets))
      fsyncSync(file)
    } finally {
      closeSync(file)
    }
    renameSync(aside, this.#file)
  }
}

function print(budgets: Budgets): string {
  return `${JSON.stringify({ version: 1, budgets: Object.fromEntries(budgets) })}\n`
}

/** Not through a schema library: it is our own file, and small. */
function parse(text: string): ReadonlyMap<string, BudgetState> {
  const read: unknown = JSON.parse(text)
  if (!isObject(read) || read['version'] !== 1 || !isObject(read['budgets']))
    throw new TypeError('not a file of budgets')
  return new Map(
    Object.entries(read['budgets']).map(([id, state]) => {
      if (!isState(state)) throw new TypeError(`the budget ${JSON.stringify(id)} cannot be read`)
      return [id, state]
    }),
  )
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isState(value: unknown): value is BudgetState {
  if (!isObject(value) || typeof value['of'] !== 'string' || typeof value['window'] !== 'string') return false
  const used = value['used']
  return isObject(used) && Object.values(used).every((each) => typeof each === 'number' && each >= 0)
}
