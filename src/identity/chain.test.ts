import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { before, describe, it } from 'node:test'
import { compileTrustBundle, coveredBy, type TrustBundle, vouchedUntil } from './chain.ts'
import { type AuthorityOptions, type MintedAuthority, mintIntermediate, mintLeaf, mintRoot } from './mint.ts'
import { parseCertificates } from './pem.ts'

const NOW = Date.UTC(2026, 0, 1)
const HOUR = 3_600_000
const LEAF = { uris: ['spiffe://cluster.local/ns/foo/sa/bar'] }

let root: MintedAuthority
let bundle: TrustBundle

/** What the caller sends, leaf first. */
async function presented(issuer: MintedAuthority, options = {}): Promise<readonly [Buffer, readonly Buffer[]]> {
  const leaf = await mintLeaf(issuer, NOW, { ...LEAF, ...options })
  const [first, ...rest] = parseCertificates(leaf.chain).map((certificate) => certificate.raw)
  assert.ok(first !== undefined)
  return [first, rest]
}

async function below(issuer: MintedAuthority, options: AuthorityOptions = {}): Promise<MintedAuthority> {
  return mintIntermediate(issuer, NOW, options)
}

before(async () => {
  root = await mintRoot(NOW)
  bundle = compileTrustBundle([new X509Certificate(root.root)])
})

describe('vouchedUntil', () => {
  it('follows a leaf to the root, directly and through intermediates in any order', async () => {
    const [leaf, none] = await presented(root)
    assert.equal(vouchedUntil(leaf, none, bundle, NOW), NOW + 24 * HOUR)
    const [deep, chain] = await presented(await below(await below(root)))
    assert.equal(chain.length, 2)
    assert.ok(vouchedUntil(deep, chain, bundle, NOW) > 0)
    assert.ok(vouchedUntil(deep, chain.toReversed(), bundle, NOW) > 0)
  })

  it('finds intermediates in the bundle, but never ends there: an anchor is self-signed', async () => {
    const middle = await below(root)
    const [leaf] = await presented(middle)
    const both = compileTrustBundle(parseCertificates(middle.certificate + root.root))
    assert.ok(vouchedUntil(leaf, [], both, NOW) > 0)
    assert.equal(vouchedUntil(leaf, [], compileTrustBundle(parseCertificates(middle.certificate)), NOW), 0)
  })

  it('gives the earliest end of the path', async () => {
    const [leaf, chain] = await presented(await below(root, { notAfter: NOW + HOUR }))
    assert.equal(vouchedUntil(leaf, chain, bundle, NOW), NOW + HOUR)
    assert.equal(vouchedUntil(leaf, chain, bundle, NOW + HOUR + 1000), 0)
  })

  it('does not vouch without the intermediate', async () => {
    const [leaf] = await presented(await below(root))
    assert.equal(vouchedUntil(leaf, [], bundle, NOW), 0)
  })

  it('does not vouch for another CA, nor for one of the same name', async () => {
    const [leaf, chain] = await presented(await mintRoot(NOW))
    assert.equal(vouchedUntil(leaf, chain, bundle, NOW), 0)
    // The caller may send its own root along; that changes nothing.
    const impostor = await mintRoot(NOW)
    const [other] = await presented(impostor)
    assert.equal(vouchedUntil(other, [new X509Certificate(impostor.root).raw], bundle, NOW), 0)
  })

  it('does not let a leaf sign', async () => {
    const leaf = await mintLeaf(root, NOW, LEAF)
    const [forged, chain] = await presented({ ...leaf, root: root.root })
    assert.equal(chain.length, 1)
    assert.equal(vouchedUntil(forged, chain, bundle, NOW), 0)
  })

  const BROKEN: readonly (readonly [string, AuthorityOptions])[] = [
    ['expired', { notBefore: NOW - 2 * HOUR, notAfter: NOW - HOUR }],
    ['not yet valid', { notBefore: NOW + HOUR }],
    ['no CA', { ca: false }],
    ['under name constraints', { permittedDns: 'example.com' }],
  ]
  for (const [what, options] of BROKEN)
    it(`does not vouch when the intermediate is ${what}`, async () => {
      const [leaf, chain] = await presented(await below(root, options))
      assert.equal(vouchedUntil(leaf, chain, bundle, NOW), 0)
    })

  it('honours the path length of every CA', async () => {
    const flat = await mintRoot(NOW, { pathLength: 0 })
    const flatBundle = compileTrustBundle([new X509Certificate(flat.root)])
    const [direct, none] = await presented(flat)
    assert.ok(vouchedUntil(direct, none, flatBundle, NOW) > 0)
    const [leaf, chain] = await presented(await below(flat))
    assert.equal(vouchedUntil(leaf, chain, flatBundle, NOW), 0)
    const [deep, both] = await presented(await below(await below(root, { pathLength: 0 })))
    assert.equal(vouchedUntil(deep, both, bundle, NOW), 0)
  })

  it('does not vouch for an expired leaf or for junk', async () => {
    const [leaf] = await presented(root, { notAfter: NOW - 1000 })
    assert.equal(vouchedUntil(leaf, [], bundle, NOW), 0)
    assert.equal(vouchedUntil(Buffer.from('junk'), [Buffer.from('more')], bundle, NOW), 0)
  })

  it('gives up on a deep chain', async () => {
    let issuer = root
    for (let depth = 0; depth < 9; depth++) issuer = await below(issuer)
    const [leaf, chain] = await presented(issuer)
    assert.equal(vouchedUntil(leaf, chain, bundle, NOW), 0)
  })
})

describe('coveredBy', () => {
  it('is true for a subset only', async () => {
    const other = new X509Certificate((await mintRoot(NOW)).root)
    const own = new X509Certificate(root.root)
    assert.equal(coveredBy([own], bundle), true)
    assert.equal(coveredBy([own, other], bundle), false)
  })
})
