/** What the status page says of routes: each name once, where it leads, and who may where an egress policy says so. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  assembleTunnels,
  toHosts,
  tunnelEntry,
  tunnelGateway,
  tunnelPolicy,
  tunnelService,
} from '../testing/tunnel-resources.ts'
import { policyStatus, routeStatus } from './route-status.ts'

test('tunnels by SNI and by port, requests, and the callers of egress policies', () => {
  const { model } = assembleTunnels([
    tunnelGateway('g', 443, ['*']),
    tunnelEntry(['a.example']),
    tunnelService('a', {
      hosts: ['a.example'],
      tls: [{ match: [{ sniHosts: ['a.example'] }], route: toHosts('a.example:443') }],
    }),
    tunnelPolicy('p', 'shop', ['b.example'], 8443),
    tunnelPolicy('q', 'billing', ['c.example'], 80, 'HTTP'),
  ])
  assert.ok(model !== null)
  const rows = routeStatus(model).map(({ gatewayPort, kind, host, leadsTo, callers }) => [
    gatewayPort,
    kind,
    host,
    leadsTo,
    callers,
  ])
  assert.deepEqual(
    rows.filter(([, , host]) => String(host).endsWith('.example')),
    [
      [80, 'http', 'c.example', ['outbound|80||c.example'], ['billing']],
      [443, 'tunnel', 'a.example', ['outbound|443||a.example'], null],
      [8443, 'tunnel', 'b.example', ['outbound|443||b.example'], ['shop']],
    ],
  )
  assert.deepEqual(policyStatus(model), [])
})
