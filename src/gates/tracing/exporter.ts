/**
 * Spans on their way to the collector: in batches, one request at a time, in the background. What waits is bounded and what
 * finds no room is dropped and counted: a collector that is down, slow or talks nonsense costs no request anything.
 */
import { NO_PEER } from '../../core/attributes.ts'
import type { UpstreamCluster } from '../../forward/cluster.ts'
import type { Forwarder } from '../../forward/engine.ts'
import type { Log } from '../../observe/log.ts'
import { type Answer, call } from '../ext-authz/call.ts'

/** Whither, and how. */
export type SpanDestination = {
  /** Equal keys: the same collector, asked in the same way, whatever reload it is of. */
  readonly key: string
  /** Of the provider, for the log. */
  readonly name: string
  readonly cluster: UpstreamCluster
  readonly path: string
  /** Flat; `host` first. */
  readonly headers: readonly string[]
  readonly timeoutMs: number
  readonly batch: (spans: readonly string[]) => string
}

/** Spans that wait; as OpenTelemetry's own processor. */
const MAX_QUEUE = 2048
/** And their characters: a tag may be long. */
const MAX_CHARS = 8 * 1024 * 1024
const BATCH = 512
const BATCH_MS = 1000
/** After a failure, doubling up to the longest, milliseconds. */
const RETRY_MIN_MS = 1000
const RETRY_MAX_MS = 30_000
/** At the end, milliseconds. */
const LAST_MS = 2000

/** Statuses with which a collector asks to be tried again (OTLP specification, Failures); other 4xx mean: never. */
const TRY_AGAIN: ReadonlySet<number> = new Set([408, 429])

type Waiting = { readonly span: string; readonly destination: SpanDestination }

export class SpanExporter {
  readonly #forwarder: Forwarder
  readonly #log: Log
  #queue: Waiting[] = []
  #chars = 0
  /** Where the last span was to go: a reload may have changed it. */
  #newest: SpanDestination | null = null
  #timer: NodeJS.Timeout | null = null
  #sending: Promise<boolean> | null = null
  #retryMs = RETRY_MIN_MS
  #failing = false
  #closed = false
  /** Since the start. */
  exported = 0
  dropped = 0

  constructor(forwarder: Forwarder, log: Log) {
    this.#forwarder = forwarder
    this.#log = log
  }

  /** Takes one span. */
  add(span: string, destination: SpanDestination): void {
    if (this.#closed || this.#queue.length >= MAX_QUEUE || this.#chars + span.length > MAX_CHARS) {
      this.dropped += 1
      return
    }
    this.#newest = destination
    this.#queue.push({ span, destination })
    this.#chars += span.length
    if (this.#failing || this.#sending !== null) return
    if (this.#queue.length >= BATCH) void this.#send()
    else this.#sendIn(BATCH_MS)
  }

  /** Sends what waits, for at most two seconds; the rest counts as dropped. Idempotent. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    const deadline = performance.now() + LAST_MS
    const left = () => deadline - performance.now()
    if (this.#sending !== null) await Promise.race([this.#sending, after(left())])
    while (this.#queue.length > 0 && left() > 0) if (!(await this.#send(left()))) break
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.dropped += this.#queue.length
    this.#queue = []
    this.#chars = 0
  }

  #sendIn(ms: number): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = null
      void this.#send()
    }, ms).unref()
  }

  /** False: the collector did not take it. Never rejects. */
  async #send(mostMs = Number.POSITIVE_INFINITY): Promise<boolean> {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    const batch = this.#nextBatch()
    if (batch === null) return true
    const sending = this.#post(batch.destination, batch.spans, mostMs)
    this.#sending = sending
    const taken = await sending
    this.#sending = null
    if (this.#queue.length > 0 && !this.#closed) {
      if (!taken) this.#sendIn(this.#retryMs)
      else if (this.#queue.length >= BATCH) void this.#send()
      else this.#sendIn(BATCH_MS)
    }
    return taken
  }

  /** Those at the head that go to one collector, by the newest word on how it is reached. */
  #nextBatch(): { readonly destination: SpanDestination; readonly spans: readonly string[] } | null {
    const [head] = this.#queue
    if (head === undefined) return null
    const { key } = head.destination
    const other = this.#queue.findIndex(({ destination }) => destination.key !== key)
    const count = Math.min(BATCH, other === -1 ? this.#queue.length : other)
    const destination = this.#newest?.key === key ? this.#newest : head.destination
    return { destination, spans: this.#queue.slice(0, count).map(({ span }) => span) }
  }

  async #post(destination: SpanDestination, spans: readonly string[], mostMs: number): Promise<boolean> {
    const { batch, cluster, headers, path } = destination
    const timeoutMs = Math.min(destination.timeoutMs, mostMs)
    const body = Buffer.from(batch(spans))
    const request = { method: 'POST', target: path, headers, body, connection: NOBODY }
    const result = await call({ forwarder: this.#forwarder, cluster, timeoutMs }, request).result
    if ('failure' in result) return this.#failed(destination, spans, result.failure)
    const { status } = result.answer
    if (status >= 300 && (status < 400 || status >= 500 || TRY_AGAIN.has(status)))
      return this.#failed(destination, spans, `it answered ${status}`)
    this.#take(spans)
    if (status >= 400) {
      this.dropped += spans.length
      this.#tell(destination, `it answered ${status}: ${spans.length} spans are lost`)
    } else {
      const rejected = Math.min(rejectedSpans(result.answer), spans.length)
      this.exported += spans.length - rejected
      this.dropped += rejected
      if (this.#failing) this.#log.info('tracing: the collector takes spans again', { provider: destination.name })
      this.#failing = false
    }
    this.#retryMs = RETRY_MIN_MS
    return true
  }

  #take(spans: readonly string[]): void {
    this.#queue = this.#queue.slice(spans.length)
    for (const span of spans) this.#chars -= span.length
  }

  #failed(destination: SpanDestination, spans: readonly string[], why: string): boolean {
    if (destination.key !== this.#newest?.key) {
      // Nobody asks for this collector any more: it must not hold up the one that is asked for.
      this.#take(spans)
      this.dropped += spans.length
      return true
    }
    this.#tell(destination, `${why}: spans wait, and are dropped when there are too many`)
    this.#retryMs = this.#failing ? Math.min(RETRY_MAX_MS, this.#retryMs * 2) : RETRY_MIN_MS
    this.#failing = true
    return false
  }

  /** Once per outage. */
  #tell({ name }: SpanDestination, why: string): void {
    if (!this.#failing) this.#log.warning(`tracing: the collector takes no spans: ${why}`, { provider: name })
  }
}

/** Of an OTLP answer (ExportTraceServiceResponse.partial_success); 0 for everything that is none. */
function rejectedSpans({ body }: Answer): number {
  if (body.length === 0) return 0
  try {
    const answer = JSON.parse(body.toString()) as { partialSuccess?: { rejectedSpans?: unknown } } | null
    const count = Number(answer?.partialSuccess?.rejectedSpans ?? 0)
    return Number.isSafeInteger(count) && count > 0 ? count : 0
  } catch {
    return 0
  }
}

async function after(ms: number): Promise<false> {
  return new Promise((resolve) => {
    setTimeout(() => resolve(false), Math.max(0, ms)).unref()
  })
}

/** Spans are sent for nobody in particular. */
const NOBODY = {
  id: 0,
  openedAt: 0,
  remoteAddress: '127.0.0.1',
  remotePort: 0,
  localAddress: '127.0.0.1',
  localPort: 0,
  gatewayPort: 0,
  peer: NO_PEER,
  tls: null,
} as const
