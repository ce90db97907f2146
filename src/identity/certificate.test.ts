import assert from 'node:assert/strict'
import { createHash, X509Certificate } from 'node:crypto'
import { before, describe, it } from 'node:test'
import { createTestPki, type TestPki } from '../testing/pki.ts'
import { type ReadCertificate, readCertificate } from './certificate.ts'
import type { LeafOptions } from './mint.ts'

const ID = 'spiffe://cluster.local/ns/foo/sa/bar'
let pki: TestPki

function read(pem: string): ReadCertificate {
  const reading = readCertificate(new X509Certificate(pem).raw)
  assert.equal(reading.kind, 'read')
  return reading as ReadCertificate
}

before(async () => {
  pki = await createTestPki()
})

describe('readCertificate', () => {
  it('gives the facts of an SVID as OpenSSL knows them', async () => {
    const svid = await pki.svid('foo/bar', { dns: ['bar.foo.svc'], ips: ['192.0.2.7', '2001:db8::1'] })
    const openssl = new X509Certificate(svid.certificate)
    const reading = read(svid.certificate)
    assert.deepEqual(reading.facts, {
      sha256: openssl.fingerprint256.replaceAll(':', '').toLowerCase(),
      subject: '',
      issuer: 'CN=cluster.local test root,O=sallyport development',
      serial: openssl.serialNumber.toLowerCase(),
      uriSans: [ID],
      dnsSans: ['bar.foo.svc'],
      notBefore: openssl.validFromDate.getTime(),
      notAfter: openssl.validToDate.getTime(),
    })
    assert.equal(reading.id?.uri, ID)
    assert.deepEqual(reading.ipSans, ['192.0.2.7', '2001:db8::1'])
    assert.deepEqual(reading.svidViolations, [])
    assert.deepEqual(reading.ambiguities, [])
    assert.deepEqual(reading.issuerViolations, ['not a CA', 'key usage lacks keyCertSign'])
    assert.equal(reading.strongSignature, true)
    const spki = openssl.publicKey.export({ type: 'spki', format: 'der' })
    assert.equal(reading.spkiSha256, createHash('sha256').update(spki).digest('base64'))
  })

  it('reads each certificate once', async () => {
    const { raw } = new X509Certificate((await pki.svid('foo/once')).certificate)
    assert.equal(readCertificate(raw), readCertificate(Buffer.from(raw)))
  })

  it('says unreadable, without throwing, for what is no certificate', () => {
    const { raw } = new X509Certificate(pki.root)
    for (const der of [Buffer.alloc(0), Buffer.from('junk'), raw.subarray(0, 100), Buffer.alloc(70_000, 0x30)])
      assert.equal(readCertificate(der).kind, 'unreadable')
  })

  it('escapes what a subject could use to look like two fields', async () => {
    const leaf = await pki.leaf({ commonName: 'a, URI:spiffe://cluster.local/ns/x/sa/y', uris: [ID] })
    const reading = read(leaf.certificate)
    assert.equal(reading.facts.subject, 'CN=a\\, URI:spiffe://cluster.local/ns/x/sa/y')
    assert.deepEqual(reading.facts.uriSans, [ID])
  })
})

// Threats D2 27 to 29; behaviour §7.5.
const SVID_RULES: readonly (readonly [what: string, options: LeafOptions, violation: RegExp])[] = [
  ['no SAN', {}, /^no URI SAN$/],
  ['a DNS SAN only', { dns: ['cluster.local'] }, /^no URI SAN$/],
  ['two URI SANs', { uris: [ID, `${ID}2`] }, /^more than one URI SAN$/],
  ['the same URI SAN twice', { uris: [ID, ID] }, /^more than one URI SAN$/],
  ['another scheme', { uris: ['https://cluster.local/ns/foo/sa/bar'] }, /scheme is not spiffe/],
  ['a bad path', { uris: ['spiffe://cluster.local/ns/foo/../bar'] }, /"\." or "\.\."/],
  ['no path', { uris: ['spiffe://cluster.local'] }, /no path/],
  ['CA:true', { uris: [ID], ca: true }, /^it is a CA certificate$/],
  ['no key usage', { uris: [ID], keyUsage: null }, /^no key usage$/],
  ['key usage not critical', { uris: [ID], keyUsageCritical: false }, /^key usage is not critical$/],
  ['no digitalSignature', { uris: [ID], keyUsage: ['keyEncipherment'] }, /lacks digitalSignature/],
  ['keyCertSign', { uris: [ID], keyUsage: ['digitalSignature', 'keyCertSign'] }, /has keyCertSign/],
  ['cRLSign', { uris: [ID], keyUsage: ['digitalSignature', 'cRLSign'] }, /has cRLSign/],
  ['no clientAuth', { uris: [ID], extendedKeyUsage: ['serverAuth'] }, /lacks clientAuth/],
  ['SAN not critical, no subject', { uris: [ID], sanCritical: false }, /SAN is not critical/],
]

describe('SVID rules', () => {
  for (const [what, options, violation] of SVID_RULES)
    it(`notices ${what}, and nothing else`, async () => {
      const { svidViolations } = read((await pki.leaf(options)).certificate)
      assert.equal(svidViolations.length, 1)
      assert.match(svidViolations[0] as string, violation)
    })

  for (const [what, options] of [
    ['no extended key usage', { uris: [ID], extendedKeyUsage: null }],
    ['clientAuth alone', { uris: [ID], extendedKeyUsage: ['clientAuth'] }],
    ['a subject, SAN not critical', { uris: [ID], commonName: 'bar' }],
    ['keyEncipherment as well', { uris: [ID], keyUsage: ['digitalSignature', 'keyEncipherment'] }],
    ['DNS SANs as well', { uris: [ID], dns: ['a.example', '*.b.example', '_x.example'] }],
  ] as const satisfies readonly (readonly [string, LeafOptions])[])
    it(`accepts ${what}`, async () => {
      const reading = read((await pki.leaf(options)).certificate)
      assert.deepEqual(reading.svidViolations, [])
      assert.deepEqual(reading.ambiguities, [])
    })
})

describe('ambiguities', () => {
  for (const [what, options, expected] of [
    ['two URI SANs', { uris: [ID, `${ID}2`] }, /2 URI SANs/],
    ['two SAN extensions', { uris: [ID], secondSan: [`${ID}2`] }, /2\.5\.29\.17 occurs more than once/],
    ['a DNS SAN that poses as a URI', { uris: [ID], dns: [`x, URI:${ID}`] }, /is not a DNS name/],
    ['a DNS SAN that is a principal', { dns: ['cluster.local/ns/foo/sa/bar'] }, /is not a DNS name/],
  ] as const satisfies readonly (readonly [string, LeafOptions, RegExp])[])
    it(`names ${what}`, async () => {
      const { ambiguities } = read((await pki.leaf(options)).certificate)
      assert.ok(
        ambiguities.some((text) => expected.test(text)),
        ambiguities.join(),
      )
    })
})
