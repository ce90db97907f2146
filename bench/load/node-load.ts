/** Load by Node itself, where wrk, h2load or a C compiler is missing. Slower than they are; the contender's CPU is what counts. */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import http2 from 'node:http2'
import type { World } from '../contenders/world.ts'
import { type Caller, createCaller, OUTER_SNI } from './caller.ts'
import { Answers, type Expected, PATH, REQUEST_HEADERS, requestText } from './exchange.ts'
import { H1_CONNECTIONS, H2_CONNECTIONS, H2_STREAMS, type Load, type LoadResult } from './load.ts'

/** Latencies of all answers until the end is near. */
class Tally {
  readonly #started = performance.now()
  readonly #until: number
  readonly #millis: number[] = []

  constructor(seconds: number) {
    this.#until = this.#started + seconds * 1000
  }

  /** False: time is up. */
  add(since: number): boolean {
    const now = performance.now()
    this.#millis.push(now - since)
    return now < this.#until
  }

  result(): LoadResult {
    const seconds = (performance.now() - this.#started) / 1000
    this.#millis.sort((a, b) => a - b)
    const at = (share: number) => this.#millis[Math.floor((this.#millis.length - 1) * share)] ?? 0
    return { requests: this.#millis.length, seconds, p50: at(0.5), p99: at(0.99) }
  }
}

export function nodeH1Load(world: World): Load {
  const caller = createCaller(world)
  return {
    run: async (port, expected, seconds) => {
      const tally = new Tally(seconds)
      await Promise.all(Array.from({ length: H1_CONNECTIONS }, () => ask(caller, port, expected, tally)))
      return tally.result()
    },
  }
}

async function ask(caller: Caller, port: number, expected: Expected, tally: Tally): Promise<void> {
  const socket = await caller.connect(port)
  const text = requestText(expected.host)
  await new Promise<void>((resolve, reject) => {
    let since = performance.now()
    const next = () => {
      const more = tally.add(since)
      since = performance.now()
      if (more) socket.write(text)
      else resolve()
    }
    void new Answers(socket, expected, next, reject)
    socket.write(text)
  }).finally(() => socket.destroy())
}

export function nodeH2Load({ callerFiles }: World): Load {
  const identity = {
    cert: readFileSync(callerFiles.certificateChain),
    key: readFileSync(callerFiles.privateKey),
    ca: readFileSync(callerFiles.trustBundle),
    servername: OUTER_SNI,
    checkServerIdentity: () => undefined,
  }
  return {
    run: async (port, expected, seconds) => {
      const sessions = Array.from({ length: H2_CONNECTIONS }, () =>
        http2.connect(`https://127.0.0.1:${port}`, identity),
      )
      await Promise.all(sessions.map((session) => once(session, 'connect')))
      const tally = new Tally(seconds)
      try {
        await Promise.all(
          sessions.flatMap((session) => Array.from({ length: H2_STREAMS }, () => askStreams(session, expected, tally))),
        )
      } finally {
        for (const session of sessions) session.destroy()
      }
      return tally.result()
    },
  }
}

async function askStreams(
  session: http2.ClientHttp2Session,
  { host, status, body }: Expected,
  tally: Tally,
): Promise<void> {
  for (let more = true; more; ) {
    const since = performance.now()
    const stream = session.request({ ':authority': host, ':path': PATH, ...REQUEST_HEADERS })
    let answered = 0
    let text = ''
    stream.on('response', (headers) => (answered = Number(headers[':status'])))
    stream.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')))
    await once(stream, 'end')
    if (answered !== status || text !== body) throw new Error(`expected ${status}, got ${answered}: ${text}`)
    more = tally.add(since)
  }
}
