/** Trust-domain aliases: behaviour §1.10, and Istio's test cases in its own words. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { expandPrincipals, expandTrustDomains } from './trust-domains.ts'

const ROWS: readonly (readonly [what: string, domains: string[], principals: string[], expanded: string[]])[] = [
  ['no alias', ['td1'], ['td1/ns/a/sa/b'], ['td1/ns/a/sa/b']],
  ['one alias', ['td2', 'td1'], ['td1/ns/a/sa/b'], ['td2/ns/a/sa/b', 'td1/ns/a/sa/b']],
  ['cluster.local points at the mesh', ['td1', 'td2'], ['cluster.local/ns/a/sa/b'], ['td1/ns/a/sa/b', 'td2/ns/a/sa/b']],
  ['a foreign domain stays', ['td1', 'td2'], ['some-td/ns/a/sa/b'], ['some-td/ns/a/sa/b']],
  ['any domain stays', ['td1', 'td2'], ['*/ns/a/sa/b'], ['*/ns/a/sa/b']],
  ['a wildcard that covers one', ['old-td', 'new'], ['*-td/ns/a/sa/b'], ['*-td/ns/a/sa/b', 'new/ns/a/sa/b']],
  ['a wildcard that covers both', ['old-td', 'new-td'], ['*-td/ns/a/sa/b'], ['*-td/ns/a/sa/b']],
  ['a prefix wildcard', ['td1', 'td2'], ['td*/ns/a/sa/b'], ['td1/ns/a/sa/b', 'td2/ns/a/sa/b']],
  ['not five parts', ['td1', 'td2'], ['td1/ns/a', '*', 'sa/b', 'td1/*'], ['td1/ns/a', '*', 'sa/b', 'td1/*']],
  ['with a scheme', ['td1', 'td2'], ['spiffe://td1/ns/a/sa/b'], ['spiffe://td1/ns/a/sa/b']],
  ['the service account may be a star', ['td1', 'td2'], ['td1/ns/a/sa/*'], ['td1/ns/a/sa/*', 'td2/ns/a/sa/*']],
  ['repetitions go', ['td1', 'td2'], ['td1/ns/a/sa/b', 'td2/ns/a/sa/b'], ['td1/ns/a/sa/b', 'td2/ns/a/sa/b']],
]

for (const [what, domains, principals, expanded] of ROWS)
  test(what, () => assert.deepEqual(expandPrincipals(principals, domains), expanded))

test('trust domain values', () => {
  assert.deepEqual(expandTrustDomains(['td1', 'x'], ['td1', 'td2']), ['td1', 'td2', 'x'])
  assert.deepEqual(expandTrustDomains(['td2'], ['td1', 'td2']), ['td1', 'td2'])
  assert.deepEqual(expandTrustDomains(['td*', 'cluster.local'], ['td1', 'td2']), ['td*', 'cluster.local'])
})
