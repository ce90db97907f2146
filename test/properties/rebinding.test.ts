/**
 * DNS rebinding (threats 38): a hostile name answers with a public and a private address in turn, TTL 0. The address
 * judged is the address dialled, so a private listener is never reached, however often it is tried.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { UpstreamEndpoint } from '../../src/forward/endpoints.ts'
import { startDnsServer } from '../../src/testing/dns-server.ts'
import { CALLER, clusterEnvironment, clusterModel, ENGINES, testUpstream } from '../../src/testing/forwarding.ts'
import { startRawOrigin } from '../../src/testing/origin.ts'

/** 10,000 by hand (SALLYPORT_REBINDING_TRIES), 200 in CI. */
const TRIES = Number(process.env['SALLYPORT_REBINDING_TRIES'] ?? 200)
// Stands for "public": allowed by CIDR, and another loopback address than the one that must not be reached.
const PERMITTED = '127.0.0.2'

for (const [engine, create] of Object.entries(ENGINES)) {
  for (const discovery of ['dns', 'dns-first', 'dynamic'] as const) {
    test(`threat 38: ${engine}: ${discovery}: ${TRIES} tries, no hit on the private listener`, async () => {
      // The same port on two addresses: only the address tells them apart.
      await using secret = await startRawOrigin({ host: '127.0.0.1' })
      let turn = 0
      await using dns = await startDnsServer(({ type }) => {
        if (type !== 'A') return { kind: 'answer', addresses: [], ttl: 0 }
        turn++
        const answers = [['127.0.0.1'], [PERMITTED], ['127.0.0.1', PERMITTED], [PERMITTED, '127.0.0.1']]
        return { kind: 'answer', addresses: answers[turn % 4] ?? [], ttl: 0 }
      })
      using upstream = testUpstream(
        clusterModel(secret.port, {
          discovery,
          host: discovery === 'dynamic' ? '*' : 'rebind.example',
          endpoints:
            discovery === 'dynamic'
              ? []
              : [{ address: 'rebind.example', port: secret.port, weight: 1, locality: '', priority: 0 }],
          dynamicPort: secret.port,
        }),
        clusterEnvironment({
          allow: [`${PERMITTED}/32`],
          dns: { servers: [dns.address], minTtlMs: 0, maxTtlMs: 0, staleForMs: 0 },
        }),
        { forwarder: create() },
      )
      const kinds = new Map<string, number>()
      for (let i = 0; i < TRIES; i++) {
        const outcome = await upstream.request({ requestedHost: 'rebind.example' })
        assert.equal(outcome.kind, 'failure')
        const { kind, details } = outcome.kind === 'failure' ? outcome.failure : { kind: '', details: '' }
        const key = `${kind} ${details ?? ''}`
        kinds.set(key, (kinds.get(key) ?? 0) + 1)
        const picked = await upstream.cluster.pick({
          requestedHost: 'rebind.example',
          portOverride: null,
          hash: null,
          caller: CALLER,
        })
        if (picked instanceof UpstreamEndpoint) assert.equal(picked.address, PERMITTED)
      }
      assert.equal(secret.connections.length, 0)
      // Both kinds of answers were really given: the permitted address was dialled (and refused), the other was denied.
      assert.ok((kinds.get('address_denied address_denied{loopback}') ?? 0) > TRIES / 10, JSON.stringify([...kinds]))
      assert.ok(
        [...kinds.keys()].some((kind) => kind.startsWith('connect_failure')),
        JSON.stringify([...kinds]),
      )
    })
  }
}
