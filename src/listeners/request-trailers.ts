/** The fields behind a request's body on their way out: what policy, the route or a gate has its own word on stays behind. */
import type { HeaderList } from '../core/attributes.ts'
import { outgoingTrailers } from '../core/headers.ts'
import type { RequestTrailers } from '../forward/forwarder.ts'
import { isEdited, type OutgoingParts } from '../runtime/outgoing.ts'
import { isTokenField } from '../runtime/token-fields.ts'
import type { Downstream } from './downstream.ts'
import type { Judged } from './judged.ts'

export class JudgedTrailers implements RequestTrailers {
  readonly #downstream: Pick<Downstream, 'trailers'>
  readonly #judged: Judged
  readonly #edits: OutgoingParts['requestEdits']

  constructor(downstream: Pick<Downstream, 'trailers'>, judged: Judged, edits: OutgoingParts['requestEdits']) {
    this.#downstream = downstream
    this.#judged = judged
    this.#edits = edits
  }

  read(): HeaderList | null {
    const { nominated, snapshot } = this.#judged
    const { tokenRules } = snapshot.model
    return outgoingTrailers(
      this.#downstream.trailers?.() ?? null,
      nominated,
      (name) => isEdited(this.#edits, name) || isTokenField(tokenRules, name),
    )
  }
}
