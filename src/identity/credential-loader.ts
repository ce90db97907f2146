/**
 * The files behind credentials: each is read once per load, and what is wrong with it is remembered. Keys appear in no
 * error, log or inventory.
 */
import { createPrivateKey, type X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import { createSecureContext, rootCertificates } from 'node:tls'
import type { CertificateFiles } from '../model/listener.ts'
import type { Settings } from '../model/settings.ts'
import { readCertificate } from './certificate.ts'
import { parseCertificates, printCertificates, splitRevocationLists } from './pem.ts'

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

export type CredentialProblem = { readonly path: string; readonly message: string }

/** Debian, Alpine; Red Hat; what Go and Envoy's `system` read there. The first that exists counts. */
const SYSTEM_BUNDLES = ['/etc/ssl/certs/ca-certificates.crt', '/etc/pki/tls/certs/ca-bundle.crt']

export type Pair = { readonly cert: string; readonly key: string } | null

/** Reads each file once per load and remembers what was wrong with it. */
export class CredentialLoader {
  readonly problems: CredentialProblem[] = []
  readonly inventory: CredentialInfo[] = []
  readonly #settings: Settings
  readonly #now: number
  readonly #pairs = new Map<string, Pair>()
  readonly #bundles = new Map<string, readonly X509Certificate[]>()
  readonly #revocations = new Map<string, readonly string[]>()
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

  revocationLists(path: string, user: string): readonly string[] {
    const known = this.#revocations.get(path)
    if (known !== undefined) return known
    const lists = this.#readRevocationLists(path, user)
    this.#revocations.set(path, lists)
    return lists
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

  #readRevocationLists(path: string, user: string): readonly string[] {
    const text = this.#text(path, user)
    if (text === null) return []
    try {
      const lists = splitRevocationLists(text)
      // Node parses them nowhere else, and a list that is not one must not wait for the first handshake.
      createSecureContext({ crl: [...lists] })
      return lists
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error)
      this.problem(path, `${why} (needed by ${user})`)
      return []
    }
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
