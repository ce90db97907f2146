/** What `explain` tells an operator: which condition failed and the value it saw. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { certificatePeer, policies, request, spiffePeer, tunnel } from '../testing/policy-fixtures.ts'
import { compileAuthorizer } from './authorizer.ts'

const deny = {
  name: 'deny',
  spec: {
    action: 'DENY',
    rules: [
      {
        from: [{ source: { namespaces: ['mytest'] } }],
        to: [{ operation: { hosts: ['httpbin.org'], methods: ['POST'] } }],
      },
    ],
  },
}
const mytest = spiffePeer('cluster.local/ns/mytest/sa/sleep')

function why(spec: object, attributes: Parameters<ReturnType<typeof compileAuthorizer>['explain']>[0]): string {
  const [policy] = compileAuthorizer(policies([{ spec }])).explain(attributes)
  return policy?.rules[0]?.why ?? 'no rule'
}

test('a whole explanation', () => {
  const models = policies([deny])
  assert.deepEqual(
    compileAuthorizer(models).explain(request({ peer: mytest, method: 'POST', host: 'httpbin.org:80' })),
    [
      {
        policy: 'istio-system/deny',
        action: 'DENY',
        dryRun: false,
        source: { file: 'istio-system/deny.yaml#', line: 1, col: 1 },
        rules: [
          {
            index: 0,
            source: { file: 'istio-system/deny.yaml#spec.rules.0', line: 1, col: 1 },
            matched: true,
            why: 'matches: source.namespace is "mytest"; host is "httpbin.org:80"; method is "POST"',
          },
        ],
      },
    ],
  )
})

test('the first thing that failed, with the value seen', () => {
  assert.equal(why(deny.spec, request({ peer: mytest })), 'no `to` matches: method is "GET", which is not "POST"')
  assert.equal(
    why(deny.spec, request({ method: 'POST' })),
    'no `from` matches: source.namespace is absent, which is not "mytest"',
  )
})

test('alternatives, lists and exclusions', () => {
  const rules = [{ from: [{ source: { ipBlocks: ['10.0.0.0/8'] } }, { source: { notPrincipals: ['*'] } }] }]
  assert.equal(
    why({ rules }, request({ sourceIp: '192.0.2.1', peer: mytest })),
    'no `from` matches: source.ip is "192.0.2.1", which is not "10.0.0.0/8"; or ' +
      'source.principal is "cluster.local/ns/mytest/sa/sleep", which is excluded by "*"',
  )
  const when = [{ key: 'request.headers[x]', values: ['1', '2', '3', '4', '5', '6'] }]
  assert.equal(
    why({ rules: [{ when }] }, request({ headers: ['x', 'a', 'x', 'b'] })),
    '`when` does not hold: request.headers[x] is "a, b", which is not one of "1", "2", "3", "4", "5", … (6 in all)',
  )
})

test('a rule without conditions', () => {
  assert.equal(why({ rules: [{}] }, request()), 'matches everything: it has no condition')
})

test('tunnels', () => {
  assert.equal(
    why({ rules: [{ to: [{ operation: { methods: ['GET'] } }] }] }, tunnel()),
    'does not exist on tunnels, because it asks about HTTP (method)',
  )
  assert.equal(
    why(deny.spec, tunnel({ peer: mytest })),
    'matches: source.namespace is "mytest" (on tunnels host, method cannot be judged and are left out)',
  )
})

test('certificates without identity, and conditions nobody can judge', () => {
  assert.equal(
    why(
      { rules: [{ from: [{ source: { principals: ['*'] } }] }] },
      request({ peer: certificatePeer({ subject: 'CN=x' }) }),
    ),
    'no `from` matches: source.principal is "a certificate without SPIFFE ID (CN=x)", which is not "*"',
  )
  const when = [{ key: 'experimental.envoy.filters.a[b]', values: ['c'] }]
  assert.match(why({ rules: [{ when }] }, request()), /cannot be judged here, so an ALLOW rule with it never matches/)
  assert.match(why({ action: 'DENY', rules: [{ when }] }, request()), /is taken to hold/)
})
