/** `tls` of a traffic policy: every field, by what a server outside sees and by what the gateway accepts (behaviour §5.3). */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { before, describe, it } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import { GATEWAY_ID } from '../../src/testing/harness.ts'
import { destinationRule, documents, gateway } from '../integration/manifests.ts'
import { askControl, sample } from '../integration/operator.ts'
import { writeSecret } from '../integration/started.ts'
import { type Authorities, createAuthorities, HOST, tlsWorld } from './tls-world.ts'

const UNTRUSTED = /^TLS_error:.*CERTIFICATE_VERIFY_FAILED/
const MISNAMED = /^TLS_error:.*ALTNAME/
const REVOKED = /^TLS_error:.*CERTIFICATE_VERIFY_FAILED:CERT_REVOKED/

let authorities: Authorities
before(async () => {
  authorities = await createAuthorities()
})

describe('what is verified', () => {
  it('field DestinationRule.trafficPolicy.tls.mode: SIMPLE speaks TLS, DISABLE does not', async (t) => {
    const { under, ca, handshakes } = await tlsWorld(t, authorities)
    assert.equal(await under({ mode: 'SIMPLE', caCertificates: ca }), 200)
    assert.deepEqual(handshakes, [{ sni: HOST, client: null }])
    assert.notEqual(await under({ mode: 'DISABLE' }), 200)
    assert.equal(handshakes.length, 1)
  })

  it('field DestinationRule.trafficPolicy.tls.caCertificates: the CAs that count, and no others', async (t) => {
    const { under, ca, outside } = await tlsWorld(t, authorities)
    assert.equal(await under({ mode: 'SIMPLE', caCertificates: ca }), 200)
    const other = authorities.mesh.writeTo(join(outside.harness.paths.dir, 'other'))
    assert.match(String(await under({ mode: 'SIMPLE', caCertificates: other })), UNTRUSTED)
    assert.match(String(await under({ mode: 'SIMPLE', caCertificates: 'system' })), UNTRUSTED)
    assert.match(String(await under({ mode: 'SIMPLE' })), UNTRUSTED)
  })

  it('field DestinationRule.trafficPolicy.tls.subjectAltNames: one of them has to be the server’s', async (t) => {
    const certificate = await authorities.outside.leaf({ dns: ['other.example'], uris: ['spiffe://partner/ns/a/sa/b'] })
    const { under, ca, handshakes } = await tlsWorld(t, authorities, { certificate })
    const tls = { mode: 'SIMPLE', caCertificates: ca }
    assert.match(String(await under(tls)), MISNAMED)
    assert.equal(await under({ ...tls, subjectAltNames: ['nobody.example', 'other.example'] }), 200)
    assert.equal(await under({ ...tls, subjectAltNames: ['spiffe://partner/ns/a/sa/b'] }), 200)
    assert.match(String(await under({ ...tls, subjectAltNames: ['nobody.example'] })), MISNAMED)
    assert.deepEqual(new Set(handshakes.map(({ sni }) => sni)), new Set([HOST]))
  })

  it('field DestinationRule.trafficPolicy.tls.sni: what the server is asked for, and what it has to be', async (t) => {
    const certificate = await authorities.outside.serverCert('other.example')
    const { under, ca, handshakes } = await tlsWorld(t, authorities, { certificate })
    const tls = { mode: 'SIMPLE', caCertificates: ca }
    assert.equal(await under({ ...tls, sni: 'other.example' }), 200)
    assert.equal(handshakes.at(-1)?.sni, 'other.example')
    assert.match(String(await under({ ...tls, sni: 'third.example' })), MISNAMED)
    assert.equal(await under({ ...tls, sni: 'third.example', subjectAltNames: ['other.example'] }), 200)
    assert.equal(handshakes.at(-1)?.sni, 'third.example')
  })

  it('field DestinationRule.trafficPolicy.tls.insecureSkipVerify: anybody will do, and that is said three times', async (t) => {
    const certificate = await authorities.mesh.serverCert('nobody.example')
    const { under, outside } = await tlsWorld(t, authorities, { certificate })
    const insecure = () => sample(outside.harness, 'sallyport_upstream_insecure_clusters')
    assert.match(String(await under({ mode: 'SIMPLE', insecureSkipVerify: false })), UNTRUSTED)
    assert.equal(await insecure(), 0)
    assert.equal(await under({ mode: 'SIMPLE', insecureSkipVerify: true }), 200)
    assert.equal(await insecure(), 1)
    const { body } = await askControl(outside.harness, 'admin', '/clusters')
    assert.ok(body.includes(`outbound|80||${HOST}::tls::SIMPLE (not verified)\n`), body)
    await eventually('a warning that the site is not verified', () =>
      outside.harness
        .log()
        .some(
          ({ level, message }) => level === 'warning' && /SP7009 .*site\.example is not verified/.test(String(message)),
        ),
    )
  })
})

describe('revocation', () => {
  it('field DestinationRule.trafficPolicy.tls.caCrl: a revoked server is refused, one that is not is not', async (t) => {
    const certificate = await authorities.outside.serverCert(HOST)
    const { under, ca, outside, handshakes } = await tlsWorld(t, authorities, { certificate })
    const file = join(outside.harness.paths.dir, 'list.crl')
    const listing = async (pem: string) => {
      writeFileSync(file, pem)
      return under({ mode: 'SIMPLE', caCertificates: ca, caCrl: file })
    }
    assert.equal(await listing(await authorities.outside.revocationList([])), 200)
    assert.match(String(await listing(await authorities.outside.revocationList([certificate]))), REVOKED)
    // What a list that is out of date, or another CA's, says about this server nobody knows.
    const old = { notBefore: Date.now() - 172_800_000, notAfter: Date.now() - 86_400_000 }
    const outdated = await listing(await authorities.outside.revocationList([], old))
    assert.match(String(outdated), /CERTIFICATE_VERIFY_FAILED:CRL_HAS_EXPIRED/)
    const foreign = await authorities.mesh.revocationList([])
    assert.match(String(await listing(foreign)), /CERTIFICATE_VERIFY_FAILED:UNABLE_TO_GET_CRL/)
    assert.equal(await listing(foreign + (await authorities.outside.revocationList([]))), 200)
    const refusal = await outside.call(HOST)
    assert.equal(refusal.status, 200)
    assert.ok(handshakes.length > 0)
  })

  it('field DestinationRule.trafficPolicy.tls.caCrl: a file that is none, or is missing, is refused at load', async (t) => {
    const { manifests, ca, outside } = await tlsWorld(t, authorities)
    const file = join(outside.harness.paths.dir, 'list.crl')
    const load = () => {
      const rule = destinationRule('site', HOST, { tls: { mode: 'SIMPLE', caCertificates: ca, caCrl: file } })
      return outside.harness.change({ 'all.yaml': documents(gateway(), ...manifests, rule) })
    }
    assert.match((await load()).errors.join('\n'), /list\.crl: does not exist/)
    for (const text of ['rubbish', '-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n']) {
      writeFileSync(file, text)
      assert.match((await load()).errors.join('\n'), /list\.crl: /)
    }
  })

  it('field DestinationRule.trafficPolicy.tls.caCrl, DestinationRule.trafficPolicy.tls.caCertificates: files are watched', async (t) => {
    const certificate = await authorities.outside.serverCert(HOST)
    const { under, ca, outside, outcome } = await tlsWorld(t, authorities, { certificate, watch: true })
    const crl = join(outside.harness.paths.dir, 'list.crl')
    writeFileSync(crl, await authorities.outside.revocationList([]))
    assert.equal(await under({ mode: 'SIMPLE', caCertificates: ca, caCrl: crl }), 200)
    const becomes = (what: string, says: RegExp) => eventually(what, async () => says.test(String(await outcome())))
    writeFileSync(crl, await authorities.outside.revocationList([certificate]))
    await becomes('revoked without a restart', REVOKED)
    writeFileSync(crl, await authorities.outside.revocationList([]))
    await becomes('accepted again', /^200$/)
    writeFileSync(ca, authorities.mesh.root)
    await becomes('distrusted without a restart', UNTRUSTED)
    writeFileSync(ca, authorities.outside.root)
    await becomes('trusted again', /^200$/)
  })
})

describe('what the gateway shows', () => {
  it('field DestinationRule.trafficPolicy.tls.clientCertificate, DestinationRule.trafficPolicy.tls.privateKey, DestinationRule.trafficPolicy.tls.mode: MUTUAL', async (t) => {
    const clients = authorities.mesh
    const { under, ca, outside, handshakes } = await tlsWorld(t, authorities, { clientCa: clients.root })
    assert.notEqual(await under({ mode: 'SIMPLE', caCertificates: ca }), 200)
    const good = (await clients.svid('egress/client')).writeTo(join(outside.harness.paths.dir, 'client'))
    const stranger = (await authorities.outside.svid('egress/client')).writeTo(join(outside.harness.paths.dir, 'other'))
    const mutual = ({ certificateChain, privateKey }: typeof good) =>
      under({ mode: 'MUTUAL', caCertificates: ca, clientCertificate: certificateChain, privateKey })
    assert.equal(await mutual(good), 200)
    assert.equal(handshakes.at(-1)?.client, 'URI:spiffe://cluster.local/ns/egress/sa/client')
    assert.notEqual(await mutual(stranger), 200)
  })

  it('field DestinationRule.trafficPolicy.tls.mode: ISTIO_MUTUAL shows the mesh identity and expects one', async (t) => {
    const { mesh } = authorities
    const location = 'MESH_INTERNAL'
    const inside = await tlsWorld(t, authorities, {
      certificate: await mesh.svid('services/site'),
      clientCa: mesh.root,
      spec: { location, subjectAltNames: ['spiffe://cluster.local/ns/services/sa/site'] },
    })
    assert.equal(await inside.under({ mode: 'ISTIO_MUTUAL' }), 200)
    const [handshake] = inside.handshakes
    assert.equal(handshake?.sni, `outbound_.80_._.${HOST}`)
    assert.match(
      String(handshake?.client),
      new RegExp(`URI:spiffe://cluster\\.local/ns/${GATEWAY_ID.replace('/', '/sa/')}`),
    )
    assert.match(
      String(
        await inside.under({ mode: 'ISTIO_MUTUAL', subjectAltNames: ['spiffe://cluster.local/ns/services/sa/other'] }),
      ),
      MISNAMED,
    )
    const foreign = await tlsWorld(t, authorities, {
      certificate: await authorities.outside.svid('services/site'),
      spec: { location, subjectAltNames: ['spiffe://cluster.local/ns/services/sa/site'] },
    })
    assert.match(String(await foreign.under({ mode: 'ISTIO_MUTUAL' })), UNTRUSTED)
  })

  it('field DestinationRule.trafficPolicy.tls.credentialName: a secret’s CA for SIMPLE, its certificate for MUTUAL', async (t) => {
    const { mesh, outside: authority } = authorities
    const { under, outside, handshakes } = await tlsWorld(t, authorities, { clientCa: mesh.root })
    const { harness } = outside
    const client = await mesh.svid('egress/client')
    writeSecret(harness, 'partner', { ...client, ca: authority.root })
    assert.equal(await under({ mode: 'MUTUAL', credentialName: 'partner' }), 200)
    assert.equal(handshakes.at(-1)?.client, 'URI:spiffe://cluster.local/ns/egress/sa/client')
    assert.equal(await under({ mode: 'MUTUAL', credentialName: 'kubernetes://partner' }), 200)
    writeSecret(harness, 'other-ca', { ...client, ca: mesh.root })
    assert.match(String(await under({ mode: 'MUTUAL', credentialName: 'other-ca' })), UNTRUSTED)
    // Istio's second secret: the CA apart.
    writeSecret(harness, 'other-ca-cacert', { ...client, ca: authority.root })
    assert.equal(await under({ mode: 'MUTUAL', credentialName: 'other-ca' }), 200)
  })

  it('field DestinationRule.trafficPolicy.tls.credentialName: CA and revocation list for SIMPLE; a missing secret is refused at load', async (t) => {
    const certificate = await authorities.outside.serverCert(HOST)
    const { under, outside, manifests } = await tlsWorld(t, authorities, { certificate })
    const { harness } = outside
    writeSecret(harness, 'ca', { ...certificate, ca: authorities.outside.root })
    const tls = { mode: 'SIMPLE', credentialName: 'ca' }
    assert.equal(await under(tls), 200)
    const list = join(harness.paths.dir, 'secrets', 'ca', 'ca.crl')
    writeFileSync(list, await authorities.outside.revocationList([certificate]))
    assert.match(String(await under(tls)), REVOKED)
    const missing = destinationRule('site', HOST, { tls: { ...tls, credentialName: 'no-such' } })
    const result = await harness.change({ 'all.yaml': documents(gateway(), ...manifests, missing) })
    assert.match(result.errors.join('\n'), /secrets\/no-such\/ca\.crt: does not exist/)
  })
})
