/** Walk-through 001: Gateway, DestinationRule, VirtualService, and a DENY of one namespace. */
import type { Gets, Row, Scenario } from './row.ts'

const HOST = 'www.aliyun.com'
const ID = 'ns[istio-system]-policy[deny-demo-frontend]-rule[0]'

/** @param decision `allow` once a policy has been asked */
function served(from: string, decision: 'none' | 'allow'): Row {
  return {
    ...{ name: `${from}: 200`, from, port: 80, hop: 'http/mtls', host: HOST, gets: { status: 200 }, reaches: 'plain' },
    line: { upstream_cluster: `outbound|80||${HOST}`, authz_decision: decision },
  }
}

function denied(method: string, gets: Gets): Row {
  return {
    ...{ name: `${method} from demo-frontend: 403`, from: 'demo-frontend/sleep', port: 80, hop: 'http/mtls' },
    ...{ host: HOST, request: { method }, gets, reaches: null },
    line: {
      response_code_details: `rbac_access_denied_matched_policy[${ID}]`,
      upstream_cluster: `outbound|80||${HOST}`,
      authz_decision: 'deny',
      authz_policy: ID,
      reason: 'rbac_denied',
    },
  }
}

export const WALK_001: Scenario = {
  title: '001, DENY of a namespace',
  seed: 'seed-001',
  files: [
    'added.yaml',
    'sleep.yaml',
    'service-entry.yaml',
    'gateway.yaml',
    'destination-rule.yaml',
    'virtual-service.yaml',
  ],
  sites: [HOST],
  steps: [
    { name: 'the namespace is served', rows: [served('demo-frontend/sleep', 'none')] },
    {
      name: 'then denied; others go on',
      apply: { 'deny.yaml': 'authorization-policy.yaml' },
      rows: [
        denied('HEAD', {
          ...{ status: 403, body: '' },
          headers: { 'content-type': 'text/plain', 'content-length': '19', date: / GMT$/ },
        }),
        denied('GET', { status: 403, body: 'RBAC: access denied' }),
        served('other/sleep', 'allow'),
        {
          ...{ name: 'another site: 502', from: 'other/sleep', port: 80, hop: 'http/mtls', host: 'www.example.com' },
          ...{ gets: { status: 502, body: '' }, reaches: null },
          line: { upstream_cluster: 'BlackHoleCluster', authz_decision: 'allow', reason: 'not_registered' },
        },
      ],
    },
  ],
}
