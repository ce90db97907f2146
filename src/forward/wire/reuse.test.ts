/** What comes right behind an answer belongs to nobody: whoever asks in the same turn must not be given it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { clusterModel, outgoing, testUpstream } from '../../testing/forwarding.ts'
import { startRawOrigin } from '../../testing/origin.ts'
import { createWireForwarder } from './forwarder.ts'

const ANSWER = 'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n'

test('a connection is not used again in the turn of the event loop in which its answer was read', async () => {
  await using origin = await startRawOrigin({ onRequest: (connection) => void connection.socket.write(ANSWER) })
  using upstream = testUpstream(clusterModel(origin.port))
  const forwarder = createWireForwarder()
  const reused: boolean[] = []
  const done = Promise.withResolvers<void>()
  const send = (target: string, then: () => void) =>
    forwarder.send(upstream.cluster, outgoing({ target }), {
      onConnected: (up) => void reused.push(up.reused),
      onResponse: ({ flow }) => flow?.into({ write: () => true, end: then, fail: done.reject }),
      onFailure: ({ kind }) => done.reject(new Error(kind)),
    })
  send('/one', () => send('/two', () => setImmediate(() => setImmediate(() => send('/three', done.resolve)))))
  await done.promise
  // It may have more to say, which nobody has read yet; two turns later it would have been heard.
  assert.deepEqual(reused, [false, false, true])
})
