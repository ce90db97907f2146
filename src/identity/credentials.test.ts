import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { createSecureContext, rootCertificates } from 'node:tls'
import { type IdentityModelOptions, identityModel, serverTls, upstreamTls } from '../testing/identity-model.ts'
import { createTestPki, type PkiFiles, type TestPki } from '../testing/pki.ts'
import type { CredentialProblem } from './credential-loader.ts'
import { CredentialError, type Credentials, loadCredentials } from './credentials.ts'

const HOUR = 3_600_000
const ISTIO = serverTls({ mode: 'ISTIO_MUTUAL', certificates: 'mesh', clientCa: 'mesh' })
let directory: string
let pki: TestPki
let mesh: PkiFiles

before(async () => {
  directory = mkdtempSync(join(tmpdir(), 'sallyport-credentials-'))
  pki = await createTestPki({ intermediate: true })
  mesh = (await pki.svid('istio-system/gateway', { dns: ['gateway.test'] })).writeTo(join(directory, 'mesh'))
})

after(() => rmSync(directory, { recursive: true, force: true }))

function load(options: IdentityModelOptions, now = Date.now()): Credentials {
  return loadCredentials(identityModel(options), now)
}

function problemsOf(options: IdentityModelOptions, now = Date.now()): readonly CredentialProblem[] {
  try {
    load(options, now)
  } catch (error) {
    assert.ok(error instanceof CredentialError)
    for (const { path } of error.problems) assert.ok(error.message.includes(path))
    return error.problems
  }
  return assert.fail('loaded')
}

function file(name: string, text: string): string {
  const path = join(directory, name)
  writeFileSync(path, text)
  return path
}

function pair(files: PkiFiles): { certificateChain: string; privateKey: string } {
  return { certificateChain: files.certificateChain, privateKey: files.privateKey }
}

describe('loadCredentials', () => {
  it('reads nothing where nothing is needed', () => {
    const identity = { certificateChain: '/nonexistent/a', privateKey: '/nonexistent/b', trustBundle: '/nonexistent/c' }
    const credentials = load({ identity, upstreams: [upstreamTls({})] })
    assert.equal(credentials.trustBundle, null)
    assert.deepEqual(credentials.inventory, [])
  })

  it('gives a mesh server its chain, its key and the trust bundle', () => {
    const credentials = load({ identity: mesh, servers: [ISTIO] })
    const material = credentials.server(ISTIO)
    assert.equal(material.cert, readFileSync(mesh.certificateChain, 'utf8'))
    assert.equal(material.cert?.match(/BEGIN CERTIFICATE/g)?.length, 2)
    assert.equal(material.key, readFileSync(mesh.privateKey, 'utf8'))
    assert.deepEqual(material.ca, [pki.root])
    assert.deepEqual(credentials.trustBundle, [pki.root])
    assert.equal(material.hash.length, 64)
    createSecureContext({ cert: material.cert ?? '', key: material.key ?? '', ca: [...(material.ca ?? [])] })
  })

  it('lists what is in use, with the ends of validity', () => {
    const { inventory } = load({ identity: mesh, servers: [ISTIO] })
    const [own, ca] = inventory
    assert.equal(inventory.length, 2)
    const leaf = new X509Certificate(readFileSync(mesh.certificateChain))
    assert.deepEqual(own, {
      credential: 'mesh',
      path: mesh.certificateChain,
      kind: 'certificate',
      subject: '',
      sans: ['spiffe://cluster.local/ns/istio-system/sa/gateway', 'gateway.test'],
      notBefore: leaf.validFromDate.getTime(),
      notAfter: leaf.validToDate.getTime(),
      serial: leaf.serialNumber.toLowerCase(),
    })
    assert.equal(ca?.kind, 'ca')
    assert.equal(ca?.path, mesh.trustBundle)
    assert.equal(JSON.stringify(inventory).includes('PRIVATE'), false)
  })

  it('names credentials of the secrets directory by their credentialName', async () => {
    const secrets = join(directory, 'secrets')
    const files = (await pki.serverCert('www.example.com')).writeTo(join(secrets, 'web'))
    const tls = serverTls({ mode: 'SIMPLE', certificates: [pair(files)], clientCa: null })
    const { inventory } = load({ servers: [tls], secretsDirectory: secrets })
    assert.deepEqual(
      inventory.map(({ credential }) => credential),
      ['web'],
    )
  })

  it('gives a server all of its pairs', async () => {
    const other = (await pki.serverCert('www.example.com')).writeTo(join(directory, 'second'))
    const tls = serverTls({ mode: 'SIMPLE', certificates: [pair(mesh), pair(other)], clientCa: null })
    const material = load({ servers: [tls] }).server(tls)
    assert.equal(material.pairs.length, 2)
    assert.equal(material.cert, material.pairs[0]?.cert)
    assert.equal(material.ca, null)
  })

  it('gives an upstream the system roots, and the operating system’s', () => {
    const tls = upstreamTls({ ca: 'system' })
    const material = load({ upstreams: [tls] }).upstream(tls)
    assert.equal(material.cert, null)
    const prints = (pems: readonly string[]) => new Set(pems.map((pem) => new X509Certificate(pem).fingerprint256))
    const given = prints(material.ca ?? [])
    assert.equal(given.size, material.ca?.length)
    for (const print of prints(rootCertificates)) assert.ok(given.has(print))
    if (!existsSync('/etc/ssl/certs/ca-certificates.crt')) return
    const system = readFileSync('/etc/ssl/certs/ca-certificates.crt', 'utf8').match(
      /-----BEGIN[^]*?END CERTIFICATE-----/g,
    )
    for (const print of prints(system ?? [])) assert.ok(given.has(print))
  })

  it('gives an upstream its revocation lists, one text each, and a hash that tells them apart', async () => {
    const [one, two] = [await pki.revocationList([]), await pki.revocationList([await pki.serverCert('a.test')])]
    const path = file('lists.crl', `a comment\n${one}${two}`)
    const without = upstreamTls({ ca: mesh.trustBundle })
    const listed = upstreamTls({ ca: mesh.trustBundle, crl: path })
    const credentials = load({ upstreams: [without, listed] })
    assert.equal(credentials.upstream(without).crl, null)
    assert.deepEqual(credentials.upstream(listed).crl, [one.trimEnd(), two.trimEnd()])
    const { hash } = credentials.upstream(listed)
    assert.notEqual(hash, credentials.upstream(without).hash)
    writeFileSync(path, one)
    assert.notEqual(load({ upstreams: [listed] }).upstream(listed).hash, hash)
  })

  it('refuses revocation lists that are none, are cut short or cannot be parsed, and names the file', async () => {
    const path = file('bad.crl', '')
    const listed = upstreamTls({ ca: mesh.trustBundle, crl: path })
    const whole = await pki.revocationList([])
    const bad: readonly [string, RegExp][] = [
      [pki.root, /holds no revocation list/],
      [whole.slice(0, 120), /cut short/],
      [whole.replace(/\n[^\n]+\n/, '\nAAAA\n'), /parse|CRL/],
    ]
    for (const [text, says] of bad) {
      writeFileSync(path, text)
      const problems = problemsOf({ upstreams: [listed] })
      assert.deepEqual(
        problems.map((each) => each.path),
        [path],
      )
      assert.match(problems[0]?.message ?? '', says)
    }
  })

  it('gives an upstream a CA file and a client certificate, or the mesh ones', () => {
    const own = upstreamTls({ mode: 'MUTUAL', ca: mesh.trustBundle, clientCertificate: pair(mesh) })
    const meshed = upstreamTls({ mode: 'ISTIO_MUTUAL', ca: 'mesh', clientCertificate: 'mesh' })
    const credentials = load({ identity: mesh, upstreams: [own, meshed] })
    assert.deepEqual(credentials.upstream(own).ca, [pki.root])
    assert.equal(credentials.upstream(own).key, readFileSync(mesh.privateKey, 'utf8'))
    // The same material, so the same connections will do.
    assert.equal(credentials.upstream(own).hash, credentials.upstream(meshed).hash)
  })

  it('reads the trust bundle for any server that asks for certificates, when one is configured', () => {
    const tls = serverTls({ mode: 'MUTUAL', certificates: [pair(mesh)], clientCa: mesh.trustBundle })
    assert.equal(load({ servers: [tls] }).trustBundle, null)
    assert.deepEqual(load({ servers: [tls], identity: mesh }).trustBundle, [pki.root])
    const gone = { ...mesh, trustBundle: '/nonexistent/root.pem' }
    assert.deepEqual(
      problemsOf({ servers: [tls], identity: gone }).map(({ path }) => path),
      ['/nonexistent/root.pem'],
    )
  })

  it('knows only the model it was loaded for', () => {
    const credentials = load({ identity: mesh, servers: [ISTIO] })
    assert.throws(() => credentials.server({ ...ISTIO, mode: 'MUTUAL' }), /another model/)
    assert.throws(() => credentials.upstream(upstreamTls({})), /another model/)
  })
})

describe('version and hash', () => {
  it('change with the certificate, and only then', async () => {
    const folder = join(directory, 'rotating')
    const files = (await pki.svid('istio-system/gateway')).writeTo(folder)
    const first = load({ identity: files, servers: [ISTIO] })
    const again = load({ identity: files, servers: [ISTIO] })
    assert.equal(again.version, first.version)
    assert.equal(again.server(ISTIO).hash, first.server(ISTIO).hash)
    ;(await pki.svid('istio-system/gateway')).writeTo(folder)
    const rotated = load({ identity: files, servers: [ISTIO] })
    assert.notEqual(rotated.version, first.version)
    assert.notEqual(rotated.server(ISTIO).hash, first.server(ISTIO).hash)
  })

  it('change when a CA joins the bundle', async () => {
    const other = await createTestPki()
    const tls = serverTls({ mode: 'MUTUAL', certificates: [pair(mesh)], clientCa: file('bundle.pem', pki.root) })
    const before = load({ servers: [tls] })
    file('bundle.pem', pki.root + other.root)
    const now = load({ servers: [tls] })
    assert.notEqual(now.version, before.version)
    assert.notEqual(now.server(tls).hash, before.server(tls).hash)
  })
})

describe('problems', () => {
  const servers = [ISTIO]

  it('are all reported at once', () => {
    const tls = serverTls({
      mode: 'MUTUAL',
      certificates: [{ certificateChain: '/nonexistent/chain', privateKey: '/nonexistent/key' }],
      clientCa: '/nonexistent/ca',
    })
    const found = problemsOf({
      identity: { certificateChain: '', privateKey: '', trustBundle: '' },
      servers: [ISTIO, tls],
    })
    assert.deepEqual(
      found.map(({ path }) => path),
      ['spec.identity', 'spec.identity', '/nonexistent/chain', '/nonexistent/key', '/nonexistent/ca'],
    )
    assert.match(found[2]?.message ?? '', /does not exist \(needed by test\/server-1\)/)
  })

  it('a key of another certificate', async () => {
    const other = await pki.svid('istio-system/gateway')
    const privateKey = file('other-key.pem', other.key)
    const [problem, ...more] = problemsOf({ identity: { ...mesh, privateKey }, servers })
    assert.deepEqual(more, [])
    assert.equal(problem?.path, privateKey)
    assert.match(problem?.message ?? '', /does not belong/)
  })

  it('a key that is none, without quoting it', () => {
    const privateKey = file('junk-key.pem', '-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n')
    const [problem] = problemsOf({ identity: { ...mesh, privateKey }, servers })
    assert.match(problem?.message ?? '', /is not an unencrypted PEM private key/)
    assert.equal(problem?.message.includes('c2VjcmV0'), false)
  })

  it('own certificates that have expired, or are not yet valid', () => {
    const { notBefore, notAfter } = load({ identity: mesh, servers }).inventory[0] ?? assert.fail()
    load({ identity: mesh, servers }, notAfter)
    const [late] = problemsOf({ identity: mesh, servers }, notAfter + HOUR)
    assert.equal(late?.path, mesh.certificateChain)
    assert.match(late?.message ?? '', /^expired at 20/)
    const early = problemsOf({ identity: mesh, servers }, notBefore - HOUR)
    assert.match(early[0]?.message ?? '', /^is not valid before 20/)
    assert.equal(early[1]?.path, mesh.trustBundle)
    assert.match(early[1]?.message ?? '', /no CA certificate of it is in date/)
  })

  for (const [what, text, message] of [
    ['an empty file', '', /holds no certificate/],
    ['a file of something else', 'hello', /holds no certificate/],
    [
      'a damaged certificate',
      '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n',
      /certificate 1 does not parse/,
    ],
    ['a certificate cut short', '-----BEGIN CERTIFICATE-----\nAAAA\n', /cut short/],
  ] as const)
    it(`${what} as trust bundle`, () => {
      const trustBundle = file('bad-bundle.pem', text)
      const [problem, ...more] = problemsOf({ identity: { ...mesh, trustBundle }, servers })
      assert.deepEqual(more, [])
      assert.equal(problem?.path, trustBundle)
      assert.match(problem?.message ?? '', message)
    })

  it('one damaged certificate among good ones', () => {
    const text = `${pki.root}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n`
    const [problem] = problemsOf({ identity: { ...mesh, trustBundle: file('half.pem', text) }, servers })
    assert.match(problem?.message ?? '', /certificate 2 does not parse/)
  })

  it('a directory in the place of a file', () => {
    const path = join(directory, 'folder')
    mkdirSync(path)
    const [problem] = problemsOf({ identity: { ...mesh, trustBundle: path }, servers })
    assert.match(problem?.message ?? '', /cannot be read: EISDIR/)
  })

  it('a server that wants certificates of its callers, but has no CA to verify them', () => {
    const tls = serverTls({ mode: 'MUTUAL', certificates: [pair(mesh)], clientCa: null })
    const [problem] = problemsOf({ servers: [tls] })
    assert.match(problem?.message ?? '', /needs a CA bundle/)
  })
})
