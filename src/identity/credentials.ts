/**
 * Certificates, keys and CA bundles from disk, read at (re)load and never on the request path. What the model needs
 * must be there, match and be in date, or the whole load fails with every problem named; what it does not need is not
 * read. Keys appear in no error, log or inventory.
 */
import { createHash, createPrivateKey, type X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import { rootCertificates } from 'node:tls'
import type { UpstreamTlsModel } from '../model/cluster.ts'
import type { GatewayModel } from '../model/gateway.ts'
import type { CertificateFiles, ServerTls } from '../model/listener.ts'
import type { Settings } from '../model/settings.ts'
import { readCertificate } from './certificate.ts'
import { parseCertificates, printCertificates } from './pem.ts'

/** PEM texts. Equal hashes mean interchangeable material: two TLS connections or servers made from it are alike. */
export type TlsMaterial = {
  /** The first pair; null: none. */
  readonly cert: string | null
  readonly key: string | null
  /** All pairs (Gateway `tlsCertificates` may list one RSA and one ECDSA pair); what a server should be given. */
  readonly pairs: readonly { readonly cert: string; readonly key: string }[]
  /** One PEM text per certificate; null: no CA (nothing is to be verified). Never hand null to Node: it means "any public CA". */
  readonly ca: readonly string[] | null
  readonly hash: string
}

/** One certificate in use. Times are milliseconds since the epoch. */
export type CredentialInfo = {
  /** `mesh`, the credentialName, or the path of the file. */
  readonly credential: string
  readonly path: string
  readonly kind: 'certificate' | 'ca'
  readonly subject: string
  readonly sans: readonly string[]
  readonly notBefore: number
  readonly notAfter: number
  readonly serial: string
}

export type Credentials = {
  /** Both throw an Error for a `tls` that was not in the model these credentials were loaded for. */
  server(tls: ServerTls): TlsMaterial
  upstream(tls: UpstreamTlsModel): TlsMaterial
  /** The mesh trust bundle, one PEM text per certificate; null: the model does not need it. */
  readonly trustBundle: readonly string[] | null
  /** Own certificates (leaf only) and CAs, without the system's. */
  readonly inventory: readonly CredentialInfo[]
  /** Changes when any certificate, key or CA in use changes. */
  readonly version: string
}

export type CredentialProblem = { readonly path: string; readonly message: string }

/** All that is wrong with the files, not only the first thing. */
export class CredentialError extends Error {
  readonly problems: readonly CredentialProblem[]

  constructor(problems: readonly CredentialProblem[]) {
    super(problems.map(({ path, message }) => `${path}: ${message}`).join('\n'))
    this.name = 'CredentialError'
    this.problems = problems
  }
}

/** Debian, Alpine; Red Hat; what Go and Envoy's `system` read there. The first that exists counts. */
const SYSTEM_BUNDLES = ['/etc/ssl/certs/ca-certificates.crt', '/etc/pki/tls/certs/ca-bundle.crt']

/**
 * Reads everything the model's listeners and clusters name.
 * `system` is the runtime's root store (tls.rootCertificates) plus the operating system's bundle if there is one.
 * @param now milliseconds since the epoch; own certificates must be valid then.
 * @throws CredentialError with all problems.
 */
export function loadCredentials(model: GatewayModel, now: number): Credentials {
  const loader = new Loader(model.settings, now)
  const servers = new Map<string, TlsMaterial>()
  const upstreams = new Map<string, TlsMaterial>()
  let meshBundleWanted = false
  for (const listener of model.listeners)
    for (const { name, tls } of listener.servers) {
      if (tls === null || tls.mode === 'PASSTHROUGH') continue
      // With no bundle configured, certificates of other CAs are still callers, just without identity.
      if (tls.clientCa !== null && model.settings.identity.trustBundle !== '') meshBundleWanted = true
      if (tls.clientCa === null && tls.mode !== 'SIMPLE')
        loader.problem(name, `a ${tls.mode} server needs a CA bundle for the certificates of its callers`)
      const pairs =
        tls.certificates === 'mesh'
          ? [loader.meshPair(name)]
          : tls.certificates.map((files) => loader.pair(files, name))
      const ca =
        tls.clientCa === null
          ? null
          : tls.clientCa === 'mesh'
            ? loader.meshBundle(name)
            : loader.bundle(tls.clientCa, name)
      servers.set(serverKey(tls), material(pairs, ca))
    }
  for (const { name, tls } of model.clusters) {
    if (tls === null) continue
    const { clientCertificate: client, ca } = tls
    const pairs = client === null ? [] : [client === 'mesh' ? loader.meshPair(name) : loader.pair(client, name)]
    const authorities =
      ca === 'system' ? loader.system() : ca === 'mesh' ? loader.meshBundle(name) : loader.bundle(ca, name)
    upstreams.set(upstreamKey(tls), material(pairs, authorities))
  }
  if (meshBundleWanted) loader.meshBundle('the identity of callers')
  if (loader.problems.length > 0) throw new CredentialError(loader.problems)

  const all = [...servers.entries(), ...upstreams.entries()].map(([key, { hash }]) => `${key} ${hash}`)
  return {
    server: (tls) => found(servers, serverKey(tls)),
    upstream: (tls) => found(upstreams, upstreamKey(tls)),
    trustBundle: loader.loadedMeshBundle()?.map(String) ?? null,
    inventory: loader.inventory,
    version: digest([...all.toSorted(), ...(loader.loadedMeshBundle() ?? []).map(String)]),
  }
}

type Pair = { readonly cert: string; readonly key: string } | null

/** Reads each file once per load and remembers what was wrong with it. */
class Loader {
  readonly problems: CredentialProblem[] = []
  readonly inventory: CredentialInfo[] = []
  readonly #settings: Settings
  readonly #now: number
  readonly #pairs = new Map<string, Pair>()
  readonly #bundles = new Map<string, readonly X509Certificate[]>()
  #system: readonly X509Certificate[] | null = null

  constructor(settings: Settings, now: number) {
    this.#settings = settings
    this.#now = now
  }

  problem(path: string, message: string): void {
    this.problems.push({ path, message })
  }

  meshPair(user: string): Pair {
    const { certificateChain, privateKey } = this.#settings.identity
    if (certificateChain === '' || privateKey === '') {
      this.problem('spec.identity', `certificateChain and privateKey are needed by ${user}`)
      return null
    }
    return this.pair({ certificateChain, privateKey }, user)
  }

  meshBundle(user: string): readonly X509Certificate[] {
    const { trustBundle } = this.#settings.identity
    if (trustBundle !== '') return this.bundle(trustBundle, user)
    this.problem('spec.identity', `trustBundle is needed by ${user}`)
    return []
  }

  loadedMeshBundle(): readonly X509Certificate[] | null {
    return this.#bundles.get(this.#settings.identity.trustBundle) ?? null
  }

  pair(files: CertificateFiles, user: string): Pair {
    const id = JSON.stringify([files.certificateChain, files.privateKey])
    const known = this.#pairs.get(id)
    if (known !== undefined) return known
    const pair = this.#readPair(files, user)
    this.#pairs.set(id, pair)
    return pair
  }

  bundle(path: string, user: string): readonly X509Certificate[] {
    const known = this.#bundles.get(path)
    if (known !== undefined) return known
    const certificates = this.#certificates(path, user) ?? []
    this.#bundles.set(path, certificates)
    // One expired root among several is how roots are rotated; none in date can vouch for nobody.
    if (certificates.length > 0 && certificates.every((certificate) => this.#outOfDate(certificate) !== null))
      this.problem(path, `no CA certificate of it is in date (needed by ${user})`)
    for (const certificate of certificates) this.#list(path, 'ca', certificate)
    return certificates
  }

  system(): readonly X509Certificate[] {
    this.#system ??= withoutDuplicates([...rootCertificates, ...systemBundle()].flatMap(parseCertificates))
    return this.#system
  }

  #readPair({ certificateChain, privateKey }: CertificateFiles, user: string): Pair {
    const chain = this.#certificates(certificateChain, user)
    const keyText = this.#text(privateKey, user)
    const leaf = chain?.[0]
    if (leaf === undefined) return null
    this.#list(certificateChain, 'certificate', leaf)
    const late = this.#outOfDate(leaf)
    if (late !== null) this.problem(certificateChain, `${late} (needed by ${user})`)
    if (keyText === null) return null
    try {
      const key = createPrivateKey(keyText)
      if (!leaf.checkPrivateKey(key))
        this.problem(privateKey, `does not belong to the first certificate of ${certificateChain}`)
    } catch {
      // The cause may quote the file: it is not passed on.
      this.problem(privateKey, `is not an unencrypted PEM private key (needed by ${user})`)
    }
    return { cert: printCertificates(chain ?? []), key: keyText }
  }

  #certificates(path: string, user: string): readonly X509Certificate[] | null {
    const text = this.#text(path, user)
    if (text === null) return null
    try {
      return parseCertificates(text)
    } catch (error) {
      this.problem(path, `${error instanceof Error ? error.message : String(error)} (needed by ${user})`)
      return null
    }
  }

  #text(path: string, user: string): string | null {
    try {
      return readFileSync(path, 'utf8')
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? String(error.code) : String(error)
      this.problem(path, `${code === 'ENOENT' ? 'does not exist' : `cannot be read: ${code}`} (needed by ${user})`)
      return null
    }
  }

  #outOfDate({ validFromDate, validToDate }: X509Certificate): string | null {
    if (this.#now < validFromDate.getTime()) return `is not valid before ${validFromDate.toISOString()}`
    if (this.#now > validToDate.getTime()) return `expired at ${validToDate.toISOString()}`
    return null
  }

  #list(path: string, kind: CredentialInfo['kind'], certificate: X509Certificate): void {
    const reading = readCertificate(certificate.raw)
    const facts = reading.kind === 'read' ? reading.facts : null
    this.inventory.push({
      credential: this.#credentialName(path),
      path,
      kind,
      subject: facts?.subject ?? certificate.subject,
      sans: reading.kind === 'read' ? [...reading.facts.uriSans, ...reading.facts.dnsSans, ...reading.ipSans] : [],
      notBefore: certificate.validFromDate.getTime(),
      notAfter: certificate.validToDate.getTime(),
      serial: certificate.serialNumber.toLowerCase(),
    })
  }

  #credentialName(path: string): string {
    const { identity, secretsDirectory } = this.#settings
    if (path === identity.certificateChain || path === identity.trustBundle) return 'mesh'
    const folder = dirname(path)
    return dirname(folder) === secretsDirectory ? basename(folder) : path
  }
}

function systemBundle(): readonly string[] {
  for (const path of SYSTEM_BUNDLES)
    try {
      const text = readFileSync(path, 'utf8')
      parseCertificates(text)
      return [text]
    } catch {
      // Absent or damaged: the runtime's own root store stands alone. Fewer roots can only refuse more.
    }
  return []
}

function withoutDuplicates(certificates: readonly X509Certificate[]): readonly X509Certificate[] {
  return [...new Map(certificates.map((certificate) => [certificate.fingerprint256, certificate])).values()]
}

function material(pairs: readonly Pair[], ca: readonly X509Certificate[] | null): TlsMaterial {
  const complete = pairs.filter((pair) => pair !== null)
  const authorities = ca?.map(String) ?? null
  // The key is not hashed: it belongs to the certificate (checked), and hashes get printed.
  const hash = digest([complete.map((pair) => pair.cert), authorities])
  return { cert: complete[0]?.cert ?? null, key: complete[0]?.key ?? null, pairs: complete, ca: authorities, hash }
}

function serverKey(tls: ServerTls): string {
  return JSON.stringify([tls.mode, tls.certificates, tls.clientCa])
}

function upstreamKey(tls: UpstreamTlsModel): string {
  return JSON.stringify([tls.ca, tls.clientCertificate])
}

function found(materials: ReadonlyMap<string, TlsMaterial>, key: string): TlsMaterial {
  const value = materials.get(key)
  if (value === undefined) throw new Error(`these credentials were loaded for another model: ${key}`)
  return value
}

function digest(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex')
}
