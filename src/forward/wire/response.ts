/** An upstream's response as the seam hands it on: its body flows, or becomes a stream for those who want one. */
import { Readable } from 'node:stream'
import type { HeaderList } from '../../core/attributes.ts'
import type { BodyFlow, BodySink, UpstreamResponse } from '../forwarder.ts'

export class WireResponse implements UpstreamResponse {
  readonly status: number
  readonly headers: HeaderList
  readonly flow: BodyFlow
  /** Read and dropped: nothing says that anybody wants them (behaviour §10.5). */
  readonly trailers = null
  #body: FlowingBody | null = null

  constructor(status: number, headers: HeaderList, flow: BodyFlow) {
    this.status = status
    this.headers = headers
    this.flow = flow
  }

  get body(): Readable {
    if (this.#body === null) {
      this.#body = new FlowingBody(this.flow)
      this.flow.into(this.#body.sink)
    }
    return this.#body
  }
}

/** Holds as much as a stream does; then the upstream waits. */
class FlowingBody extends Readable {
  readonly #flow: BodyFlow
  /** `write` has said that it is enough. */
  #full = false
  readonly sink: BodySink = {
    write: (chunk) => {
      // The bytes are the giver's again.
      this.#full = !this.push(Buffer.from(chunk))
      return !this.#full
    },
    end: () => void this.push(null),
    fail: (error) => void this.destroy(error),
  }

  constructor(flow: BodyFlow) {
    super()
    this.#flow = flow
  }

  override _read(): void {
    if (!this.#full) return
    this.#full = false
    this.#flow.resume()
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#flow.destroy()
    done(error)
  }
}
