/** An outside that answers when it is told to. */
import type { TestContext } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import { type RawOrigin, type RecordedConnection, startRawOrigin } from '../../src/testing/origin.ts'

const OK = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'

export type HeldOrigin = {
  readonly origin: RawOrigin
  /** Connections with a request that has no answer yet, in the order of the requests. */
  readonly unanswered: RecordedConnection[]
  /** Waits until so many requests have no answer. */
  readonly asked: (count: number) => Promise<unknown>
  /** Answers the oldest, or says so if there is none. */
  readonly answer: () => Promise<void>
  /** Answers whatever comes. */
  readonly answerAll: () => void
}

export async function heldOrigin(t: TestContext): Promise<HeldOrigin> {
  const unanswered: RecordedConnection[] = []
  let all = false
  const origin = await startRawOrigin({
    onRequest: (connection) => {
      if (all) connection.socket.write(OK)
      else unanswered.push(connection)
    },
  })
  t.after(() => origin.close())
  return {
    origin,
    unanswered,
    asked: (count) => eventually(`${count} requests have no answer`, () => unanswered.length === count),
    answer: async () => {
      await eventually('a request has no answer', () => unanswered.length > 0)
      unanswered.shift()?.socket.write(OK)
    },
    answerAll: () => {
      all = true
      for (const { socket } of unanswered.splice(0)) socket.write(OK)
    },
  }
}
