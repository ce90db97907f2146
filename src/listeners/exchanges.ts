/**
 * The exchanges under way on one connection, in the order they came. Usually there is one, for which a Set is too much:
 * emptied and filled again, it gives up its room and asks for it each time.
 */
import type { Exchange } from './exchange.ts'

export class Exchanges implements Iterable<Exchange> {
  #first: Exchange | null = null
  /** Behind the first. */
  #others: Set<Exchange> | null = null

  get size(): number {
    return this.#first === null ? 0 : 1 + (this.#others?.size ?? 0)
  }

  /** The one that came first; null: there is none. */
  get first(): Exchange | null {
    return this.#first
  }

  add(exchange: Exchange): void {
    if (this.#first === null) this.#first = exchange
    else {
      this.#others ??= new Set()
      this.#others.add(exchange)
    }
  }

  delete(exchange: Exchange): void {
    const others = this.#others
    if (this.#first !== exchange) {
      others?.delete(exchange)
      return
    }
    this.#first = others?.values().next().value ?? null
    if (this.#first !== null) others?.delete(this.#first)
  }

  *[Symbol.iterator](): Iterator<Exchange> {
    if (this.#first !== null) yield this.#first
    if (this.#others !== null) yield* this.#others
  }
}
