import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { claimsSpiffe, isTrustDomainId, parseSpiffeId, printSpiffeId } from './spiffe.ts'

function uriOf(text: string): string | null {
  const parsed = parseSpiffeId(text)
  return 'id' in parsed ? parsed.id.uri : null
}

describe('parseSpiffeId', () => {
  it('reads the form Istio gives service accounts', () => {
    assert.deepEqual(parseSpiffeId('spiffe://cluster.local/ns/mesh-ns/sa/sleep.v2_x'), {
      id: {
        uri: 'spiffe://cluster.local/ns/mesh-ns/sa/sleep.v2_x',
        trustDomain: 'cluster.local',
        namespace: 'mesh-ns',
        serviceAccount: 'sleep.v2_x',
      },
    })
  })

  it('lowers scheme and trust domain, never the path', () => {
    assert.equal(uriOf('SPIFFE://Cluster.LOCAL/ns/A/sa/B'), 'spiffe://cluster.local/ns/A/sa/B')
  })

  for (const path of ['/ns/a', '/ns/a/sa/b/c', '/sa/b/ns/a', '/x/ns/a/sa/b', '/NS/a/SA/b', '/workload-1'])
    it(`has no namespace and no service account for ${path}`, () => {
      const parsed = parseSpiffeId(`spiffe://td${path}`)
      assert.ok('id' in parsed)
      assert.equal(parsed.id.namespace, null)
      assert.equal(parsed.id.serviceAccount, null)
    })

  it('accepts an ID without path and says that it names a trust domain', () => {
    const parsed = parseSpiffeId('spiffe://cluster.local')
    assert.ok('id' in parsed)
    assert.equal(isTrustDomainId(parsed.id), true)
    const workload = parseSpiffeId('spiffe://cluster.local/x')
    assert.ok('id' in workload)
    assert.equal(isTrustDomainId(workload.id), false)
  })

  it('holds the limits of length exactly', () => {
    const domain = 'd'.repeat(255)
    assert.ok(uriOf(`spiffe://${domain}/x`) !== null)
    assert.equal(uriOf(`spiffe://${domain}d/x`), null)
    const head = 'spiffe://td/'
    assert.ok(uriOf(head + 'x'.repeat(2048 - head.length)) !== null)
    assert.equal(uriOf(head + 'x'.repeat(2049 - head.length)), null)
  })

  // Threats D2 28 and 30.
  const REFUSED = [
    '',
    'spiffe',
    'spiffe:/td/x',
    'spiffe:///x',
    'https://td/x',
    'spiffes://td/x',
    ' spiffe://td/x',
    'spiffe://td/x ',
    'spiffe://td/',
    'spiffe://td/x/',
    'spiffe://td//x',
    'spiffe://td/./x',
    'spiffe://td/../x',
    'spiffe://td/x/..',
    'spiffe://td:443/x',
    'spiffe://user@td/x',
    'spiffe://user:pw@td/x',
    'spiffe://td/x?q',
    'spiffe://td/x#f',
    'spiffe://td?q',
    'spiffe://td/a%2Fb',
    'spiffe://td/a%41',
    'spiffe://t%64/x',
    'spiffe://td/a\\b',
    'spiffe://td/a\0b',
    'spiffe://td/a\nb',
    'spiffe://td/ä',
    'spiffe://tä/x',
    'spiffe://[::1]/x',
    'spiffe://td/a,URI:spiffe://td/b',
    // U+212A KELVIN SIGN lower-cases to an ASCII k, U+017F upper-cases to S.
    'spiffe://\u212Aube/x',
    '\u017Fpiffe://td/x',
  ]
  for (const uri of REFUSED)
    it(`refuses ${JSON.stringify(uri)}`, () => {
      const parsed = parseSpiffeId(uri)
      assert.ok('error' in parsed)
      assert.ok(parsed.error.length > 0)
    })
})

describe('parseSpiffeId, properties', () => {
  const segment = fc.stringMatching(/^[A-Za-z0-9._-]{1,12}$/).filter((text) => text !== '.' && text !== '..')
  const domain = fc.stringMatching(/^[a-z0-9._-]{1,20}$/)

  it('never throws, and what it accepts it accepts again unchanged', () => {
    const hostile = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 60 }),
      fc
        .string({ unit: fc.constantFrom(...'spiffe:/.%?#@AZaz09\\\0\u212A'.split('')), maxLength: 40 })
        .map((rest) => `spiffe://${rest}`),
    )
    fc.assert(
      fc.property(hostile, (text) => {
        const parsed = parseSpiffeId(text)
        if ('error' in parsed) return
        assert.match(parsed.id.uri, /^spiffe:\/\/[a-z0-9._-]+(\/[A-Za-z0-9._-]+)*$/)
        assert.deepEqual(parseSpiffeId(parsed.id.uri), parsed)
      }),
      { numRuns: 500 },
    )
  })

  it('reads back what printSpiffeId prints', () => {
    fc.assert(
      fc.property(domain, segment, segment, (trustDomain, namespace, serviceAccount) => {
        const uri = printSpiffeId(trustDomain, namespace, serviceAccount)
        assert.deepEqual(parseSpiffeId(uri), { id: { uri, trustDomain, namespace, serviceAccount } })
      }),
      { numRuns: 200 },
    )
  })
})

describe('claimsSpiffe', () => {
  it('sees the claim behind a bad form, and none where there is none', () => {
    assert.equal(claimsSpiffe('SPIFFE:junk'), true)
    assert.equal(claimsSpiffe('https://example.com/spiffe:'), false)
  })
})
