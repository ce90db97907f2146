/** loadBalancer.simple (behaviour §5.6), by which of two endpoints requests arrive at. */
import assert from 'node:assert/strict'
import type { Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import { plainConnect } from '../../src/testing/mesh-client.ts'
import { balancedSite, count, HOST, startMember } from './balanced-site.ts'

/** Share of the requests that go to an endpoint with five under way, while the other one is idle. */
async function shareOfTheBusyOne(t: TestContext, trafficPolicy: object): Promise<number> {
  await using busy = await startMember(2, (head) => (head.startsWith('GET /hold') ? null : 200))
  await using idle = await startMember(3)
  await using site = await balancedSite(t, [busy, idle], trafficPolicy)
  const sockets: Socket[] = []
  for (let sent = 1; busy.seen < 5; sent++) {
    const socket = await plainConnect(site.harness.gateway.port(80))
    sockets.push(socket)
    socket.write(`GET /hold HTTP/1.1\r\nhost: ${HOST}\r\n\r\n`)
    while (busy.seen + idle.seen < sent) await new Promise((resolve) => setImmediate(resolve))
  }
  const names = await site.names(400)
  for (const socket of sockets) socket.destroy()
  assert.equal(count(names, busy) + count(names, idle), 400)
  return count(names, busy) / 400
}

/**
 * Blind drawing gives the busy one half; two choices give it the quarter of the draws in which it comes up twice.
 * Bounds are five standard deviations away.
 */
test('field DestinationRule.trafficPolicy.loadBalancer.simple: LEAST_REQUEST (and what means it) spares the busy one, RANDOM does not look', async (t) => {
  for (const simple of [undefined, 'UNSPECIFIED', 'LEAST_REQUEST', 'LEAST_CONN', 'PASSTHROUGH']) {
    const share = await shareOfTheBusyOne(
      t,
      simple === undefined ? { tls: { mode: 'DISABLE' } } : { loadBalancer: { simple } },
    )
    assert.ok(share > 0.14 && share < 0.37, `${simple}: ${share}`)
  }
  const random = await shareOfTheBusyOne(t, { loadBalancer: { simple: 'RANDOM' } })
  assert.ok(random > 0.37 && random < 0.63, String(random))
})

test('field DestinationRule.trafficPolicy.loadBalancer.simple: ROUND_ROBIN takes turns, RANDOM does not', async (t) => {
  await using one = await startMember(2)
  await using two = await startMember(3)
  await using site = await balancedSite(t, [one, two], { loadBalancer: { simple: 'ROUND_ROBIN' } })
  const turns = await site.names(40)
  for (const [index, name] of turns.entries()) if (index > 0) assert.notEqual(name, turns[index - 1])
  await site.reload([one, two], { loadBalancer: { simple: 'RANDOM' } })
  const drawn = await site.names(100)
  assert.ok(drawn.some((name, index) => name === drawn[index - 1]))
  assert.ok(count(drawn, one) > 10 && count(drawn, two) > 10)
})
