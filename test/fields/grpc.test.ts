/** What gRPC needs of a port, and retries by its own statuses (behaviour §4.6, §10.5). */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { type GrpcCall, grpcCall, grpcMessages, startGrpcOrigin } from '../../src/testing/grpc.ts'
import { h2Over } from '../../src/testing/h2-client.ts'
import type { Harness } from '../../src/testing/harness.ts'
import { plainConnect } from '../../src/testing/mesh-client.ts'
import { documents, gateway, serviceEntry, to, virtualService } from '../integration/manifests.ts'
import { started } from '../integration/started.ts'

const HOST = 'grpc.example'

type Site = { readonly harness: Harness; readonly call: (method: string, message: string) => Promise<GrpcCall> }

async function site(t: TestContext, target: number, protocol: string, retries: object): Promise<Site> {
  const manifests = [
    gateway({ protocol: 'HTTP2' }),
    serviceEntry('grpc', HOST, target, { protocol }),
    virtualService('grpc', [HOST], [{ route: to(HOST), retries }]),
  ]
  const harness = await started(t, { resources: { 'all.yaml': documents(...manifests) } })
  return {
    harness,
    call: async (method, message) => {
      const session = h2Over(await plainConnect(harness.gateway.port(80)))
      const call = grpcCall(session, HOST, method)
      call.send(message)
      call.stream.end()
      call.stream.once('close', () => session.close())
      return call
    },
  }
}

test('field ServiceEntry.ports[].protocol: GRPC brings trailers back; over HTTP there are none to bring', async (t) => {
  await using origin = await startGrpcOrigin()
  for (const protocol of ['GRPC', 'HTTP2', 'HTTP']) {
    const { harness, call } = await site(t, origin.port, protocol, { attempts: 0 })
    const asked = await call('Unary', 'hello')
    if (protocol === 'HTTP') {
      asked.stream.resume()
      // What answers in HTTP/2 does not speak HTTP/1.1.
      assert.deepEqual([await asked.status, (await harness.lines(1))[0]?.['response_flags']], [14, 'UPE'])
    } else {
      const messages = []
      for await (const message of grpcMessages(asked.stream)) messages.push(String(message))
      assert.deepEqual([messages, await asked.status, asked.trailers()?.['x-checksum']], [['hello'], 0, '5'])
    }
    await harness.stop(1)
  }
})

const NAMES = { cancelled: 1, 'deadline-exceeded': 4, 'resource-exhausted': 8, internal: 13, unavailable: 14 } as const

test('field VirtualService.http[].retries.retryOn: each gRPC status by its name, and no other', async (t) => {
  for (const [retryOn, own] of Object.entries(NAMES)) {
    await using origin = await startGrpcOrigin()
    const { harness, call } = await site(t, origin.port, 'GRPC', { attempts: 1, retryOn })
    for (const status of Object.values(NAMES)) {
      const before = origin.streams.length
      const asked = await call('Status', String(status))
      asked.stream.resume()
      assert.equal(await asked.status, status)
      assert.equal(origin.streams.length - before, status === own ? 2 : 1, `${retryOn}: ${status}`)
    }
    await harness.stop(5)
  }
})
