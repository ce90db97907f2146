/** A mesh CA in memory, and certificates from it: what tests and the demo show to the gateway. */
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  type LeafOptions,
  type Minted,
  type MintedAuthority,
  mintIntermediate,
  mintLeaf,
  mintRevocationList,
  mintRoot,
} from '../identity/mint.ts'

export type TestPkiOptions = {
  readonly trustDomain?: string
  /** Leaves are signed by an intermediate, as with Istio's plugged-in CA. */
  readonly intermediate?: boolean
  /** Milliseconds since the epoch; default: now. */
  readonly now?: number
}

/** Paths of one certificate's files, named as Istio's agent names them. */
export type PkiFiles = { readonly certificateChain: string; readonly privateKey: string; readonly trustBundle: string }

/** `cert` is the whole chain without the root; all three go to tls.connect / tls.createServer / curl as they are. */
export type TestCertificate = Minted & {
  readonly cert: string
  readonly key: string
  readonly ca: string
  /** Writes cert-chain.pem, key.pem (0600) and root-cert.pem into `dir`, which is made. */
  writeTo(dir: string): PkiFiles
}

export type TestPki = {
  readonly trustDomain: string
  /** PEM of the root certificate. */
  readonly root: string
  readonly authority: MintedAuthority
  /** An SVID. `id` is a whole SPIFFE ID, or `NS/SA` for a service account of this trust domain. */
  svid(id: string, options?: LeafOptions): Promise<TestCertificate>
  /** A certificate for a server with this DNS name. */
  serverCert(dns: string, options?: LeafOptions): Promise<TestCertificate>
  /** A leaf of exactly these options: for hostile certificates. */
  leaf(options: LeafOptions): Promise<TestCertificate>
  /** A revocation list (PEM) of the CA that signs the leaves, of these certificates; its own validity may be set. */
  revocationList(
    revoked: readonly TestCertificate[],
    options?: Pick<LeafOptions, 'notBefore' | 'notAfter'>,
  ): Promise<string>
  /** Writes root-cert.pem into `dir`; returns its path. */
  writeTo(dir: string): string
}

/** Every call makes new keys: two PKIs never trust each other, even with equal names. */
export async function createTestPki(options: TestPkiOptions = {}): Promise<TestPki> {
  const { trustDomain = 'cluster.local', now = Date.now() } = options
  const root = await mintRoot(now, { commonName: `${trustDomain} test root`, uris: [`spiffe://${trustDomain}`] })
  const authority = options.intermediate === true ? await mintIntermediate(root, now) : root
  const leaf = async (leafOptions: LeafOptions): Promise<TestCertificate> => {
    const minted = await mintLeaf(authority, now, leafOptions)
    const files = { cert: minted.chain, key: minted.privateKey, ca: root.root }
    return { ...minted, ...files, writeTo: (dir) => writeFiles(dir, files) }
  }
  return {
    trustDomain,
    root: root.root,
    authority,
    svid: async (id, more = {}) => leaf({ uris: [id.startsWith('spiffe:') ? id : istioId(trustDomain, id)], ...more }),
    serverCert: async (dns, more = {}) => leaf({ dns: [dns], ...more }),
    leaf,
    revocationList: (revoked, more = {}) =>
      mintRevocationList(
        authority,
        now,
        revoked.map(({ certificate }) => certificate),
        more,
      ),
    writeTo: (dir) => {
      mkdirSync(dir, { recursive: true })
      const path = join(dir, 'root-cert.pem')
      writeFileSync(path, root.root)
      return path
    },
  }
}

function istioId(trustDomain: string, account: string): string {
  const [namespace = '', serviceAccount = ''] = account.split('/')
  return `spiffe://${trustDomain}/ns/${namespace}/sa/${serviceAccount}`
}

function writeFiles(dir: string, { cert, key, ca }: { cert: string; key: string; ca: string }): PkiFiles {
  mkdirSync(dir, { recursive: true })
  const files = {
    certificateChain: join(dir, 'cert-chain.pem'),
    privateKey: join(dir, 'key.pem'),
    trustBundle: join(dir, 'root-cert.pem'),
  }
  writeFileSync(files.certificateChain, cert)
  writeFileSync(files.privateKey, key, { mode: 0o600 })
  // The mode above is only for new files.
  chmodSync(files.privateKey, 0o600)
  writeFileSync(files.trustBundle, ca)
  return files
}
