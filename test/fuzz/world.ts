/** A whole gateway over plaintext, its outside, and its access log as it grows. */
import { closeSync, openSync, readSync } from 'node:fs'
import type { HttpEngine } from '../../src/model/settings.ts'
import { withEngine } from '../../src/testing/engine.ts'
import { eventually } from '../../src/testing/eventually.ts'
import { type Harness, type HarnessOptions, startHarness } from '../../src/testing/harness.ts'
import { plainConnect, rawExchange } from '../../src/testing/mesh-client.ts'

/** A line of the access log, as far as the fuzzer compares it. */
export type Line = {
  /** The caller's address and port. */
  readonly address: string
  readonly requestId: string | null
  readonly code: number
  readonly details: string
  readonly flags: string | null
  readonly upstream: string | null
  readonly path: string | null
}

const FORMAT = {
  address: '%DOWNSTREAM_REMOTE_ADDRESS%',
  requestId: '%REQ(X-REQUEST-ID)%',
  code: '%RESPONSE_CODE%',
  details: '%RESPONSE_CODE_DETAILS%',
  flags: '%RESPONSE_FLAGS%',
  upstream: '%UPSTREAM_HOST%',
  path: '%REQ(:PATH)%',
}

/** What asks whether everything before it has been written. */
const MARK = '/the-log-is-written-up-to-here-'

export class World {
  readonly harness: Harness
  readonly engine: HttpEngine
  /** Where callers connect to. */
  readonly port: number
  readonly #file: number
  #rest = ''
  #marks = 0
  #marked = 0
  #lines: Line[] = []

  private constructor(harness: Harness, engine: HttpEngine) {
    this.harness = harness
    this.engine = engine
    this.port = harness.gateway.port(80)
    this.#file = openSync(harness.paths.accessLog, 'r')
  }

  static async start(engine: HttpEngine, resources: HarnessOptions['resources'], http: object = {}): Promise<World> {
    const spec = {
      ports: { 80: 0 },
      http,
      meshConfig: {
        accessLogEncoding: 'JSON',
        accessLogFormat: JSON.stringify(FORMAT),
        // What is sent is what was received: every other mode has tests of its own.
        pathNormalization: { normalization: 'NONE' },
      },
    }
    return withEngine(engine, async () => new World(await startHarness({ resources, spec }), engine))
  }

  /** Lines of every request that ended before this call, and were not told before. */
  async lines(): Promise<readonly Line[]> {
    const mark = ++this.#marks
    const socket = await plainConnect(this.port)
    await rawExchange(socket, `GET ${MARK}${mark} HTTP/1.1\r\nhost: mark.example\r\nconnection: close\r\n\r\n`)
    await eventually('the access log is written', () => {
      this.#read()
      return this.#marked >= mark
    })
    return this.#lines.splice(0)
  }

  /** A clean end: nothing open, nothing lost. */
  async stop(): Promise<void> {
    closeSync(this.#file)
    await this.harness.stop()
  }

  #read(): void {
    const chunk = Buffer.allocUnsafe(1 << 20)
    for (;;) {
      const count = readSync(this.#file, chunk)
      if (count === 0) return
      const lines = (this.#rest + chunk.toString('latin1', 0, count)).split('\n')
      this.#rest = lines.pop() ?? ''
      for (const line of lines) this.#take(JSON.parse(line) as Line)
    }
  }

  #take(line: Line): void {
    if (line.path?.startsWith(MARK) === true) this.#marked = Number(line.path.slice(MARK.length))
    else this.#lines.push({ ...line, code: Number(line.code) })
  }
}
