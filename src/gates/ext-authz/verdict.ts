/** What an external authorizer says of one request or tunnel, whatever protocol it speaks. */
import type { HeaderList } from '../../core/attributes.ts'

/** `append`: to the field that is there, and only then (Envoy). `absent`: only where there is none. `replace`: only where there is one. */
export type HeaderChange = {
  readonly name: string
  readonly value: string
  readonly how: 'set' | 'append' | 'absent' | 'replace'
}

export type Verdict =
  | {
      readonly kind: 'allowed'
      /** To the request, in order; the last value of a name does not push out the one before it in the same list. */
      readonly changes: readonly HeaderChange[]
      /** Then these names are taken out of the request. */
      readonly remove: readonly string[]
      /** In the answer that the caller gets. */
      readonly response: HeaderList
    }
  | {
      readonly kind: 'denied'
      readonly status: number
      readonly headers: HeaderList
      readonly body: string
    }
  /** It could not be asked, or has not answered so that it could be understood. `why` is for the operator's log. */
  | { readonly kind: 'error'; readonly why: string }

export const failed = (why: string): Verdict => ({ kind: 'error', why })
