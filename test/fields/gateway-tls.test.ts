/** Every field of a Gateway server's `tls` block (behaviour §3.2, 3.3): what callers are shown, and who is let in. */
import assert from 'node:assert/strict'
import { createHash, X509Certificate } from 'node:crypto'
import { before, test } from 'node:test'
import type { TestCertificate } from '../../src/testing/pki.ts'
import { type Authorities, createAuthorities, type GatewayWorld, gatewayWorld, serialOf } from './gateway-world.ts'
import { told } from './route-site.ts'

let authorities: Authorities
let sleep: TestCertificate
let stranger: TestCertificate

before(async () => {
  authorities = await createAuthorities()
  sleep = await authorities.mesh.svid('apps/sleep')
  stranger = await authorities.partner.svid('apps/sleep')
})

/** The gateway's own files and the mesh's CA: SIMPLE, with these fields more or less. */
function files({ server }: GatewayWorld, which = 0): { serverCertificate: string; privateKey: string } {
  const { certificateChain = '', privateKey = '' } = server[which]?.files ?? {}
  return { serverCertificate: certificateChain, privateKey }
}

function shown(world: GatewayWorld, which: number): string {
  const own = world.server[which]
  assert.ok(own !== undefined)
  return serialOf(own.certificate)
}

test('field Gateway.servers[].tls.mode: who is asked for a certificate, and who is let in', async (t) => {
  const world = await gatewayWorld(t, authorities)
  const caCertificates = world.write('ca.pem', authorities.mesh.root)
  const statuses = async (block: object) => {
    assert.deepEqual(await world.become(block), [])
    const callers = [null, sleep, stranger]
    const met = await Promise.all(callers.map((caller) => world.meet(caller)))
    return met.map(({ status }) => status)
  }
  const own = { ...files(world), caCertificates }
  assert.deepEqual(await statuses({ mode: 'SIMPLE', ...files(world) }), [200, 200, 200])
  assert.deepEqual(await statuses({ mode: 'MUTUAL', ...own }), [null, 200, null])
  assert.deepEqual(await statuses({ mode: 'OPTIONAL_MUTUAL', ...own }), [200, 200, null])
  assert.deepEqual(await statuses({ mode: 'ISTIO_MUTUAL' }), [null, 200, null])
  assert.match((await world.become({ mode: 'AUTO_PASSTHROUGH' })).join(), / SP4003 /)
})

test('field Gateway.servers[].tls.serverCertificate, Gateway.servers[].tls.privateKey: what callers are shown', async (t) => {
  const world = await gatewayWorld(t, authorities)
  for (const which of [0, 1]) {
    assert.deepEqual(await world.become({ mode: 'SIMPLE', ...files(world, which) }), [])
    assert.equal((await world.meet(null)).serial, shown(world, which))
  }
  const mixed = { ...files(world, 0), privateKey: files(world, 1).privateKey }
  assert.equal((await world.become({ mode: 'SIMPLE', ...mixed })).length, 1, 'a key of another certificate')
})

test('field Gateway.servers[].tls.caCertificates: whose callers are let in', async (t) => {
  const world = await gatewayWorld(t, authorities)
  const { mesh, partner } = authorities
  for (const [root, expected] of [
    [mesh.root, [200, null]],
    [partner.root, [null, 200]],
    [mesh.root + partner.root, [200, 200]],
  ] as const) {
    const caCertificates = world.write(`ca-${expected.join()}.pem`, root)
    assert.deepEqual(await world.become({ mode: 'MUTUAL', ...files(world), caCertificates }), [])
    const met = [await world.meet(sleep), await world.meet(stranger)]
    assert.deepEqual(
      met.map(({ status }) => status),
      expected,
    )
  }
})

test('field Gateway.servers[].tls.tlsCertificates[].serverCertificate, Gateway.servers[].tls.tlsCertificates[].privateKey, Gateway.servers[].tls.tlsCertificates[].caCertificates: a list of them', async (t) => {
  const world = await gatewayWorld(t, authorities)
  const caCertificates = world.write('ca.pem', authorities.partner.root)
  const entry = { ...files(world, 1), caCertificates }
  assert.deepEqual(await world.become({ mode: 'MUTUAL', tlsCertificates: [entry] }), [])
  assert.deepEqual(
    { ...(await world.meet(stranger)), protocol: null, cipher: '' },
    { status: 200, serial: shown(world, 1), protocol: null, cipher: '' },
  )
  assert.equal((await world.meet(sleep)).status, null)
})

test('field Gateway.servers[].tls.credentialName, Gateway.servers[].tls.credentialNames: certificate, key and CA of a secret', async (t) => {
  const world = await gatewayWorld(t, authorities)
  for (const [which, { certificate }] of world.server.entries()) world.writeSecret(`secret-${which}`, certificate)
  for (const which of [0, 1])
    for (const block of [{ credentialName: `secret-${which}` }, { credentialNames: [`secret-${which}`] }]) {
      assert.deepEqual(await world.become({ mode: 'MUTUAL', ...block }), [])
      const [good, bad] = which === 0 ? [stranger, sleep] : [sleep, stranger]
      const met = await world.meet(good)
      assert.deepEqual([met.status, met.serial], [200, shown(world, which)])
      assert.equal((await world.meet(bad)).status, null)
    }
  assert.equal((await world.become({ mode: 'SIMPLE', credentialName: 'missing' })).length > 0, true)
})

test('field Gateway.servers[].tls.caCertCredentialName: the CA of another secret', async (t) => {
  const world = await gatewayWorld(t, authorities)
  const [partner, mesh] = world.server
  assert.ok(partner !== undefined && mesh !== undefined)
  world.writeSecret('own', mesh.certificate)
  world.writeSecret('theirs', partner.certificate)
  assert.deepEqual(await world.become({ mode: 'MUTUAL', credentialName: 'own', caCertCredentialName: 'theirs' }), [])
  assert.deepEqual([(await world.meet(stranger)).status, (await world.meet(sleep)).status], [200, null])
})

test('field Gateway.servers[].tls.subjectAltNames: which certificates of the CA', async (t) => {
  const world = await gatewayWorld(t, authorities)
  const mutual = { mode: 'MUTUAL', ...files(world), caCertificates: world.write('ca.pem', authorities.mesh.root) }
  const other = await authorities.mesh.svid('apps/sleep-admin')
  const names = ['spiffe://cluster.local/ns/apps/sa/sleep']
  assert.deepEqual(await world.become({ ...mutual, subjectAltNames: names }), [])
  assert.deepEqual([(await world.meet(sleep)).status, (await world.meet(other)).status], [200, null])
})

test('field Gateway.servers[].tls.verifyCertificateSpki, Gateway.servers[].tls.verifyCertificateHash: which certificates, by hash', async (t) => {
  const world = await gatewayWorld(t, authorities)
  const mutual = { mode: 'MUTUAL', ...files(world), caCertificates: world.write('ca.pem', authorities.mesh.root) }
  const other = await authorities.mesh.svid('apps/sleep')
  const { raw, publicKey } = new X509Certificate(sleep.cert)
  const hash = createHash('sha256').update(raw).digest('hex')
  const spki = createHash('sha256')
    .update(publicKey.export({ type: 'spki', format: 'der' }))
    .digest('base64')
  for (const pins of [{ verifyCertificateHash: [hash] }, { verifyCertificateSpki: [spki] }]) {
    assert.deepEqual(await world.become({ ...mutual, ...pins }), [])
    assert.deepEqual([(await world.meet(sleep)).status, (await world.meet(other)).status], [200, null])
  }
})

test('field Gateway.servers[].tls.minProtocolVersion, Gateway.servers[].tls.maxProtocolVersion: versions of TLS', async (t) => {
  const world = await gatewayWorld(t, authorities)
  const simple = { mode: 'SIMPLE', ...files(world) }
  const old = { maxVersion: 'TLSv1.2' } as const
  assert.deepEqual(await world.become(simple), [])
  assert.deepEqual([(await world.meet(null)).protocol, (await world.meet(null, old)).protocol], ['TLSv1.3', 'TLSv1.2'])
  assert.deepEqual(await world.become({ ...simple, minProtocolVersion: 'TLSV1_3' }), [])
  assert.deepEqual([(await world.meet(null)).protocol, (await world.meet(null, old)).protocol], ['TLSv1.3', null])
  assert.deepEqual(await world.become({ ...simple, maxProtocolVersion: 'TLSV1_2' }), [])
  assert.equal((await world.meet(null)).protocol, 'TLSv1.2')
})

test('field Gateway.servers[].tls.cipherSuites: of TLS 1.2, and no others', async (t) => {
  const world = await gatewayWorld(t, authorities)
  const simple = { mode: 'SIMPLE', ...files(world), maxProtocolVersion: 'TLSV1_2' }
  for (const cipher of ['ECDHE-ECDSA-AES256-GCM-SHA384', 'ECDHE-ECDSA-CHACHA20-POLY1305']) {
    assert.deepEqual(await world.become({ ...simple, cipherSuites: [cipher] }), [])
    assert.equal((await world.meet(null)).cipher, cipher)
    assert.equal((await world.meet(null, { ciphers: 'ECDHE-ECDSA-AES128-GCM-SHA256' })).protocol, null)
  }
})

test('field Gateway.servers[].tls.caCrl: refused while revocation lists are not built, never ignored', async (t) => {
  const world = await gatewayWorld(t, authorities)
  const mutual = { mode: 'MUTUAL', ...files(world), caCertificates: world.write('ca.pem', authorities.mesh.root) }
  const caCrl = world.write('crl.pem', await authorities.mesh.revocationList([sleep]))
  assert.match((await world.become({ ...mutual, caCrl })).join(), / SP1034 .*caCrl/)
})

test('field Gateway.servers[].tls.insecureSkipVerify: told about; certificates are verified all the same', async (t) => {
  const world = await gatewayWorld(t, authorities)
  const mutual = { mode: 'MUTUAL', ...files(world), caCertificates: world.write('ca.pem', authorities.mesh.root) }
  assert.deepEqual(await world.become({ ...mutual, insecureSkipVerify: true }), [])
  assert.match((await told(world.harness, 'SP1034', 1)).join(), /insecureSkipVerify/)
  assert.deepEqual([(await world.meet(sleep)).status, (await world.meet(stranger)).status], [200, null])
})
