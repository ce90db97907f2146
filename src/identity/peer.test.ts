/** Real handshakes: a raw server accepts and emits the socket into a socketless tls.Server, as the listeners do. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import * as tls from 'node:tls'
import type { Peer } from '../core/attributes.ts'
import type { ServerTls } from '../model/listener.ts'
import { identityModel, serverTls } from '../testing/identity-model.ts'
import { createTestPki, type TestCertificate, type TestPki } from '../testing/pki.ts'
import { readCertificate } from './certificate.ts'
import { type Credentials, loadCredentials } from './credentials.ts'
import type { LeafOptions } from './mint.ts'
import { compilePeerRules, type Handshake, identifyPeer, type PeerRules, type PeerVerdict, peerOf } from './peer.ts'
import { parseCertificates } from './pem.ts'
import { serverTlsOptions } from './server-options.ts'

const ID = 'spiffe://cluster.local/ns/foo/sa/bar'
const VERSIONS = ['TLSv1.2', 'TLSv1.3'] as const
const HOUR = 3_600_000

let directory: string
let mesh: TestPki
let partner: TestPki
/** Signs with an intermediate whose root is not the mesh's. */
let stranger: TestPki
let identity: { readonly certificateChain: string; readonly privateKey: string; readonly trustBundle: string }
let partnerCa: string
const running: Harness[] = []

type Harness = {
  readonly port: number
  readonly rules: PeerRules
  /** Connects, waits until both sides are done, and tells what the gateway thought. */
  call(client: TestCertificate | null, options?: tls.ConnectionOptions): Promise<Call>
  close(): void
}
type Call = { readonly verdict: PeerVerdict; readonly resumed: boolean; readonly session: Buffer | null }

before(async () => {
  directory = mkdtempSync(join(tmpdir(), 'sallyport-peer-'))
  ;[mesh, partner, stranger] = await Promise.all([
    createTestPki({ intermediate: true }),
    createTestPki({ trustDomain: 'partner.example' }),
    createTestPki({ intermediate: true }),
  ])
  const gateway = await mesh.svid('istio-system/istio-egressgateway', { dns: ['gateway.test'] })
  identity = gateway.writeTo(join(directory, 'gateway'))
  partnerCa = partner.writeTo(join(directory, 'partner'))
})

after(() => {
  for (const harness of running) harness.close()
  rmSync(directory, { recursive: true, force: true })
})

type Mesh = { readonly trustDomainAliases?: readonly string[]; readonly identity?: typeof identity }

function load(server: ServerTls, options: Mesh = {}): { rules: PeerRules; credentials: Credentials } {
  const model = identityModel({ servers: [server], identity, ...options })
  const credentials = loadCredentials(model, Date.now())
  return { rules: compilePeerRules(server, credentials, model.settings.mesh), credentials }
}

/** `now` is what the gateway's clock says. */
async function serve(server: ServerTls, options: Mesh & { readonly now?: () => number } = {}): Promise<Harness> {
  const { rules, credentials } = load(server, options)
  const terminator = tls.createServer(serverTlsOptions(server, credentials.server(server)))
  const verdicts: ((verdict: { verdict: PeerVerdict; resumed: boolean }) => void)[] = []
  terminator.on('secureConnection', (socket) => {
    socket.on('error', () => {})
    const verdict = peerOf(socket, rules, (options.now ?? Date.now)())
    verdicts.shift()?.({ verdict, resumed: socket.isSessionReused() })
    // The byte makes the client read, and with it the session tickets of TLS 1.3.
    socket.end('.')
  })
  const accept: Server = createServer((socket) => terminator.emit('connection', socket))
  accept.listen(0, '127.0.0.1')
  await once(accept, 'listening')
  const { port } = accept.address() as AddressInfo
  const harness: Harness = {
    port,
    rules,
    call: async (client, more = {}) => {
      const judged = new Promise<{ verdict: PeerVerdict; resumed: boolean }>((resolve) => verdicts.push(resolve))
      const material = client === null ? {} : { cert: client.cert, key: client.key }
      const socket = tls.connect({
        host: '127.0.0.1',
        port,
        servername: 'gateway.test',
        ca: mesh.root,
        ...material,
        ...more,
      })
      let session: Buffer | null = null
      socket.on('session', (ticket) => {
        session = ticket
      })
      socket.resume()
      await once(socket, 'close')
      assert.equal(socket.authorized, true)
      return { ...(await judged), session }
    },
    close: () => accept.close(),
  }
  running.push(harness)
  return harness
}

function peer(verdict: PeerVerdict): Peer {
  assert.ok('peer' in verdict, JSON.stringify(verdict))
  return verdict.peer
}

function reason(verdict: PeerVerdict): string {
  assert.ok('refuse' in verdict, `accepted: ${JSON.stringify(verdict)}`)
  assert.ok(verdict.detail.length > 0)
  return verdict.refuse
}

const ISTIO = serverTls({ mode: 'ISTIO_MUTUAL', certificates: 'mesh', clientCa: 'mesh' })

/** A server with a CA of its own, as partners outside the mesh need. */
function partnerServer(mode: 'MUTUAL' | 'OPTIONAL_MUTUAL', more: Partial<ServerTls> = {}): ServerTls {
  return serverTls({ mode, certificates: 'mesh', clientCa: partnerCa, ...more })
}

type Row = readonly [what: string, certificate: () => Promise<TestCertificate>, verdict: string]
const meshLeaf = (options: LeafOptions) => () => mesh.leaf(options)

/** Threats D2 27 to 30. `ok` or the reason code. */
const ISTIO_ROWS: readonly Row[] = [
  ['an SVID', () => mesh.svid('foo/bar'), 'ok'],
  ['an SVID with DNS SANs', () => mesh.svid('foo/bar', { dns: ['a.example'] }), 'ok'],
  ['an SVID whose trust domain is in upper case', meshLeaf({ uris: ['spiffe://CLUSTER.local/ns/foo/sa/bar'] }), 'ok'],
  [
    'an expired SVID',
    () => mesh.svid('foo/bar', { notBefore: Date.now() - 2 * HOUR, notAfter: Date.now() - HOUR }),
    'expired_certificate',
  ],
  [
    'an SVID of tomorrow',
    () => mesh.svid('foo/bar', { notBefore: Date.now() + HOUR, notAfter: Date.now() + 2 * HOUR }),
    'expired_certificate',
  ],
  ['the same ID from another CA', () => stranger.svid('foo/bar'), 'untrusted_certificate'],
  ['no URI SAN', meshLeaf({ dns: ['cluster.local'] }), 'invalid_svid'],
  ['two URI SANs', meshLeaf({ uris: [ID, 'spiffe://cluster.local/ns/admin/sa/root'] }), 'invalid_svid'],
  [
    'a CA certificate',
    meshLeaf({ uris: [ID], ca: true, keyUsage: ['digitalSignature', 'keyCertSign'] }),
    'invalid_svid',
  ],
  ['no clientAuth', meshLeaf({ uris: [ID], extendedKeyUsage: ['serverAuth'] }), 'invalid_svid'],
  ['keyCertSign', meshLeaf({ uris: [ID], keyUsage: ['digitalSignature', 'keyCertSign'] }), 'invalid_svid'],
  ['no key usage', meshLeaf({ uris: [ID], keyUsage: null }), 'invalid_svid'],
  ['another scheme', meshLeaf({ uris: ['https://cluster.local/ns/foo/sa/bar'] }), 'invalid_svid'],
  ['a traversal', meshLeaf({ uris: ['spiffe://cluster.local/ns/foo/../foo/sa/bar'] }), 'invalid_svid'],
  ['percent-encoding', meshLeaf({ uris: ['spiffe://cluster.local/ns/foo/sa%2Fbar'] }), 'invalid_svid'],
  ['the trust domain itself', meshLeaf({ uris: ['spiffe://cluster.local'] }), 'invalid_svid'],
  [
    'a trust domain that ours is a prefix of',
    meshLeaf({ uris: ['spiffe://cluster.local.evil/ns/foo/sa/bar'] }),
    'foreign_trust_domain',
  ],
  [
    'a trust domain that ours is a suffix of',
    meshLeaf({ uris: ['spiffe://my.cluster.local/ns/foo/sa/bar'] }),
    'foreign_trust_domain',
  ],
  ['a DNS SAN dressed as a URI SAN', meshLeaf({ dns: [`x, URI:${ID}`] }), 'invalid_svid'],
  ['a common name dressed as an ID', meshLeaf({ commonName: ID }), 'invalid_svid'],
]

describe('ISTIO_MUTUAL', () => {
  let servers: ReadonlyMap<string, Harness>
  before(async () => {
    const started = VERSIONS.map(async (version) => {
      const pinned = { minVersion: version, maxVersion: version }
      return [version, await serve({ ...ISTIO, ...pinned })] as const
    })
    servers = new Map(await Promise.all(started))
  })

  for (const version of VERSIONS) {
    for (const [what, certificate, expected] of ISTIO_ROWS)
      it(`${version}, ${what}: ${expected}`, async () => {
        const { verdict } = (await servers.get(version)?.call(await certificate())) ?? assert.fail()
        if (expected !== 'ok') return assert.equal(reason(verdict), expected)
        const caller = peer(verdict)
        assert.ok(caller.kind === 'spiffe')
        assert.equal(caller.id.uri, ID)
        assert.equal(caller.id.namespace, 'foo')
        assert.equal(caller.id.serviceAccount, 'bar')
      })

    it(`${version}, no certificate: no_client_certificate, resumed or not`, async () => {
      const server = servers.get(version) ?? assert.fail()
      const first = await server.call(null)
      assert.equal(reason(first.verdict), 'no_client_certificate')
      assert.ok('counter' in first.verdict && first.verdict.counter === 'ssl_fail_verify_no_cert')
      assert.ok(first.session !== null)
      const second = await server.call(null, { session: first.session })
      assert.equal(second.resumed, true)
      assert.equal(reason(second.verdict), 'no_client_certificate')
    })

    it(`${version}, a resumed session keeps the identity`, async () => {
      const server = servers.get(version) ?? assert.fail()
      const svid = await mesh.svid('foo/bar')
      const first = await server.call(svid)
      assert.equal(first.resumed, false)
      assert.ok(first.session !== null)
      const second = await server.call(svid, { session: first.session })
      assert.equal(second.resumed, true)
      assert.deepEqual(peer(second.verdict), peer(first.verdict))
    })

    it(`${version}, a session made with a refused certificate stays refused`, async () => {
      const server = servers.get(version) ?? assert.fail()
      const bad = await stranger.svid('foo/bar')
      const first = await server.call(bad)
      assert.ok(first.session !== null)
      const second = await server.call(bad, { session: first.session })
      assert.equal(second.resumed, true)
      assert.equal(reason(second.verdict), 'untrusted_certificate')
    })

    it(`${version}, a certificate that ended after the full handshake is refused on resumption`, async () => {
      let now = Date.now()
      const pinned = { minVersion: version, maxVersion: version }
      const server = await serve({ ...ISTIO, ...pinned }, { now: () => now })
      const svid = await mesh.svid('foo/bar', { notAfter: Date.now() + HOUR })
      const first = await server.call(svid)
      assert.equal(peer(first.verdict).kind, 'spiffe')
      assert.ok(first.session !== null)
      now += 2 * HOUR
      const second = await server.call(svid, { session: first.session })
      assert.equal(second.resumed, true)
      assert.equal(reason(second.verdict), 'expired_certificate')
    })

    it(`${version}, a session of one server is worth nothing on another`, async () => {
      const pinned = { minVersion: version, maxVersion: version }
      const lax = await serve(partnerServer('OPTIONAL_MUTUAL', pinned))
      const first = await lax.call(null)
      assert.ok(first.session !== null)
      const { resumed, verdict } = (await servers.get(version)?.call(null, { session: first.session })) ?? assert.fail()
      assert.equal(resumed, false)
      assert.equal(reason(verdict), 'no_client_certificate')
    })
  }

  it('takes the aliases of the trust domain, and no others', async () => {
    const server = await serve(ISTIO, { trustDomainAliases: ['old.example'] })
    const old = await server.call(await mesh.svid('spiffe://old.example/ns/foo/sa/bar'))
    const caller = peer(old.verdict)
    assert.ok(caller.kind === 'spiffe')
    assert.equal(caller.id.trustDomain, 'old.example')
    const other = await server.call(await mesh.svid('spiffe://older.example/ns/foo/sa/bar'))
    assert.equal(reason(other.verdict), 'foreign_trust_domain')
  })
})

describe('MUTUAL with the mesh bundle (mounted files, seed 002)', () => {
  it('gives an SVID its identity and refuses a malformed one', async () => {
    const server = await serve(serverTls({ mode: 'MUTUAL', certificates: [identity], clientCa: identity.trustBundle }))
    assert.equal(server.rules.meshVerified, true)
    const good = peer((await server.call(await mesh.svid('foo/bar'))).verdict)
    assert.ok(good.kind === 'spiffe' && good.id.uri === ID)
    assert.equal(peer((await server.call(await mesh.leaf({ dns: ['a.example'] }))).verdict).kind, 'certificate')
    const bad = ['spiffe://cluster.local/ns/foo/sa/', 'spiffe:cluster.local']
    for (const uri of bad)
      assert.equal(reason((await server.call(await mesh.leaf({ uris: [uri] }))).verdict), 'invalid_svid')
    const signer = await mesh.leaf({ uris: [ID], keyUsage: ['digitalSignature', 'keyCertSign'] })
    assert.equal(reason((await server.call(signer)).verdict), 'invalid_svid')
  })
})

describe('MUTUAL with a CA of its own', () => {
  let server: Harness
  before(async () => {
    server = await serve(partnerServer('MUTUAL'))
  })

  const kindOf = async (certificate: TestCertificate) => peer((await server.call(certificate)).verdict).kind

  it('knows its callers by certificate, without identity', async () => {
    assert.equal(server.rules.meshVerified, false)
    assert.equal(
      await kindOf(await partner.leaf({ commonName: 'client', dns: ['client.partner.example'] })),
      'certificate',
    )
    assert.equal(await kindOf(await partner.leaf({ commonName: ID })), 'certificate')
    assert.equal(await kindOf(await partner.leaf({ uris: ['https://partner.example/'] })), 'certificate')
    assert.equal(await kindOf(await partner.svid('foo/bar')), 'certificate')
  })

  it('does not let that CA write identities of the mesh', async () => {
    assert.equal(await kindOf(await partner.leaf({ uris: [ID] })), 'certificate')
  })

  it('refuses two URI SANs, none at all, and callers of the mesh that this CA does not know', async () => {
    const two = await partner.leaf({ uris: [ID, 'spiffe://partner.example/x'] })
    assert.equal(reason((await server.call(two)).verdict), 'invalid_svid')
    assert.equal(reason((await server.call(null)).verdict), 'no_client_certificate')
    assert.equal(reason((await server.call(await mesh.svid('foo/bar'))).verdict), 'untrusted_certificate')
  })
})

describe('MUTUAL with a bundle that holds the mesh CA and another', () => {
  /** Signs without an intermediate. */
  let direct: TestPki
  let server: ServerTls
  let own: typeof identity

  before(async () => {
    direct = await createTestPki()
    const gateway = await direct.svid('istio-system/istio-egressgateway')
    own = gateway.writeTo(join(directory, 'direct'))
    const both = join(directory, 'both.pem')
    writeFileSync(both, direct.root + partner.root)
    server = serverTls({ mode: 'MUTUAL', certificates: [identity], clientCa: both })
  })

  for (const version of VERSIONS)
    it(`${version}: an SVID of the mesh has its identity, resumed too; the same ID from the other CA has none`, async () => {
      const harness = await serve({ ...server, minVersion: version, maxVersion: version }, { identity: own })
      assert.equal(harness.rules.meshVerified, false)
      const svid = await direct.svid('foo/bar')
      const first = await harness.call(svid)
      const caller = peer(first.verdict)
      assert.ok(caller.kind === 'spiffe' && caller.id.uri === ID)
      assert.ok(first.session !== null)
      const second = await harness.call(svid, { session: first.session })
      assert.equal(second.resumed, true)
      assert.deepEqual(peer(second.verdict), caller)
      const forged = await harness.call(await partner.leaf({ uris: [ID] }))
      assert.equal(peer(forged.verdict).kind, 'certificate')
      const signer = await direct.leaf({ uris: [ID], keyUsage: ['digitalSignature', 'cRLSign'] })
      assert.equal(reason((await harness.call(signer)).verdict), 'invalid_svid')
    })
})

describe('MUTUAL, SVIDs signed by an intermediate of the mesh', () => {
  const both = () => join(directory, 'mesh-and-partner.pem')
  const server = () => serverTls({ mode: 'MUTUAL', certificates: 'mesh', clientCa: both() })
  before(() => writeFileSync(both(), mesh.root + partner.root))

  it('never takes them for callers without identity, not even when the runtime loses the chain', async () => {
    // nodejs/node#65579: then they are refused. On a runtime without that bug they have their identity.
    const { verdict } = await (await serve(server())).call(await mesh.svid('foo/bar'))
    if ('peer' in verdict) assert.equal(verdict.peer.kind, 'spiffe')
    else assert.equal(reason(verdict), 'untrusted_certificate')
  })

  it('has their identity when the intermediate is in the trust bundle', async () => {
    const trustBundle = join(directory, 'with-intermediate.pem')
    writeFileSync(trustBundle, mesh.authority.certificate + mesh.root)
    const harness = await serve(server(), { identity: { ...identity, trustBundle } })
    assert.equal(peer((await harness.call(await mesh.svid('foo/bar'))).verdict).kind, 'spiffe')
  })

  it('has their identity when the chain is at hand, and from then on', async () => {
    const { rules } = load(server())
    const [leaf, ...issuers] = parseCertificates((await mesh.svid('foo/bar')).chain).map(
      (certificate) => certificate.raw,
    )
    const bare: Handshake = { der: leaf ?? null, authorized: true, authorizationError: null, presented: () => [] }
    assert.equal(reason(identifyPeer(bare, rules, Date.now())), 'untrusted_certificate')
    const full = { ...bare, presented: () => issuers }
    assert.equal(peer(identifyPeer(full, rules, Date.now())).kind, 'spiffe')
    assert.equal(peer(identifyPeer(bare, rules, Date.now())).kind, 'spiffe')
  })

  it('has no identity where there is no mesh bundle', async () => {
    const model = { certificateChain: identity.certificateChain, privateKey: identity.privateKey, trustBundle: '' }
    const harness = await serve(server(), { identity: model })
    assert.equal(peer((await harness.call(await mesh.svid('foo/bar'))).verdict).kind, 'certificate')
  })
})

describe('OPTIONAL_MUTUAL', () => {
  it('lets callers without certificate in as nobody, resumed too, and refuses bad certificates', async () => {
    const server = await serve(partnerServer('OPTIONAL_MUTUAL'))
    const first = await server.call(null)
    assert.deepEqual(peer(first.verdict), { kind: 'none' })
    assert.ok(first.session !== null)
    const second = await server.call(null, { session: first.session })
    assert.equal(second.resumed, true)
    assert.deepEqual(peer(second.verdict), { kind: 'none' })
    assert.equal(peer((await server.call(await partner.leaf({ commonName: 'c' }))).verdict).kind, 'certificate')
    assert.equal(reason((await server.call(await stranger.svid('foo/bar'))).verdict), 'untrusted_certificate')
  })
})

describe('SIMPLE', () => {
  it('asks for no certificate and believes none', async () => {
    const server = await serve(serverTls({ mode: 'SIMPLE', certificates: 'mesh', clientCa: null }))
    assert.deepEqual(peer((await server.call(await mesh.svid('foo/bar'))).verdict), { kind: 'none' })
  })
})

describe('names and pins of the server', () => {
  it('wants one of subjectAltNames, exactly', async () => {
    const names = ['spiffe://partner.example/ns/foo/sa/bar', 'client.partner.example']
    const server = await serve(partnerServer('MUTUAL', { subjectAltNames: names }))
    assert.equal(peer((await server.call(await partner.svid('foo/bar'))).verdict).kind, 'certificate')
    assert.equal(
      peer((await server.call(await partner.leaf({ dns: ['client.partner.example'] }))).verdict).kind,
      'certificate',
    )
    for (const options of [
      { dns: ['x.client.partner.example'] },
      { dns: ['*.partner.example'] },
      { commonName: 'client.partner.example' },
    ]) {
      const { verdict } = await server.call(await partner.leaf(options))
      assert.equal(reason(verdict), 'untrusted_certificate')
      assert.ok('counter' in verdict && verdict.counter === 'ssl_fail_verify_san')
    }
  })

  it('takes a certificate by its hash or by that of its key', async () => {
    const [byHash, byKey, neither] = await Promise.all(
      ['a', 'b', 'c'].map((commonName) => partner.leaf({ commonName })),
    )
    assert.ok(byHash !== undefined && byKey !== undefined && neither !== undefined)
    const [hash] = parseCertificates(byHash.certificate).map((certificate) => certificate.fingerprint256)
    const reading = readCertificate(parseCertificates(byKey.certificate)[0]?.raw ?? assert.fail())
    assert.ok(hash !== undefined && reading.kind === 'read')
    const server = await serve(partnerServer('MUTUAL', { certificatePins: [hash], spkiPins: [reading.spkiSha256] }))
    assert.equal(peer((await server.call(byHash)).verdict).kind, 'certificate')
    assert.equal(peer((await server.call(byKey)).verdict).kind, 'certificate')
    assert.equal(reason((await server.call(neither)).verdict), 'untrusted_certificate')
  })
})

describe('identifyPeer', () => {
  it('believes no "authorized" without a certificate, and no certificate without "authorized"', async () => {
    const { rules } = load(ISTIO)
    const der = parseCertificates((await mesh.svid('foo/bar')).certificate)[0]?.raw ?? assert.fail()
    const handshake: Handshake = {
      der: null,
      authorized: true,
      authorizationError: null,

      presented: () => [],
    }
    assert.equal(reason(identifyPeer(handshake, rules, Date.now())), 'no_client_certificate')
    const unproven = { ...handshake, der, authorized: false }
    assert.equal(reason(identifyPeer(unproven, rules, Date.now())), 'untrusted_certificate')
    const unheard = { ...unproven, authorizationError: '__proto__' }
    assert.equal(reason(identifyPeer(unheard, rules, Date.now())), 'untrusted_certificate')
    const revoked = { ...unproven, authorizationError: 'CERT_REVOKED' }
    assert.equal(reason(identifyPeer(revoked, rules, Date.now())), 'revoked_certificate')
    assert.equal(peer(identifyPeer({ ...unproven, authorized: true }, rules, Date.now())).kind, 'spiffe')
  })

  it('refuses a certificate that our reader cannot read, even when OpenSSL could', () => {
    const { rules } = load(ISTIO)
    const der = Buffer.from('3000', 'hex')
    const handshake: Handshake = {
      der,
      authorized: true,
      authorizationError: null,

      presented: () => [],
    }
    assert.equal(reason(identifyPeer(handshake, rules, Date.now())), 'invalid_svid')
  })
})
