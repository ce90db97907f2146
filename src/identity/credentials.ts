/**
 * Certificates, keys and CA bundles from disk, read at (re)load and never on the request path. What the model needs
 * must be there, match and be in date, or the whole load fails with every problem named; what it does not need is not
 * read. Keys appear in no error, log or inventory.
 */
import { createHash, type X509Certificate } from 'node:crypto'
import type { UpstreamTlsModel } from '../model/cluster.ts'
import type { GatewayModel } from '../model/gateway.ts'
import type { ServerTls } from '../model/listener.ts'
import { type CredentialInfo, CredentialLoader, type CredentialProblem, type Pair } from './credential-loader.ts'

/** PEM texts. Equal hashes mean interchangeable material: two TLS connections or servers made from it are alike. */
export type TlsMaterial = {
  /** The first pair; null: none. */
  readonly cert: string | null
  readonly key: string | null
  /** All pairs (Gateway `tlsCertificates` may list one RSA and one ECDSA pair); what a server should be given. */
  readonly pairs: readonly { readonly cert: string; readonly key: string }[]
  /** One PEM text per certificate; null: no CA (nothing is to be verified). Never hand null to Node: it means "any public CA". */
  readonly ca: readonly string[] | null
  /** Revocation lists, one PEM text each; null: nothing is checked for revocation. */
  readonly crl: readonly string[] | null
  readonly hash: string
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

/** All that is wrong with the files, not only the first thing. */
export class CredentialError extends Error {
  readonly problems: readonly CredentialProblem[]

  constructor(problems: readonly CredentialProblem[]) {
    super(problems.map(({ path, message }) => `${path}: ${message}`).join('\n'))
    this.name = 'CredentialError'
    this.problems = problems
  }
}

/**
 * Reads everything the model's listeners and clusters name.
 * `system` is the runtime's root store (tls.rootCertificates) plus the operating system's bundle if there is one.
 * @param now milliseconds since the epoch; own certificates must be valid then.
 * @throws CredentialError with all problems.
 */
export function loadCredentials(model: GatewayModel, now: number): Credentials {
  const loader = new CredentialLoader(model.settings, now)
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
      servers.set(serverKey(tls), material(pairs, ca, null))
    }
  for (const { name, tls } of model.clusters) {
    if (tls === null) continue
    const { clientCertificate: client, ca } = tls
    const pairs = client === null ? [] : [client === 'mesh' ? loader.meshPair(name) : loader.pair(client, name)]
    const authorities =
      ca === 'system' ? loader.system() : ca === 'mesh' ? loader.meshBundle(name) : loader.bundle(ca, name)
    const crl = tls.crl === null ? null : loader.revocationLists(tls.crl, name)
    upstreams.set(upstreamKey(tls), material(pairs, authorities, crl))
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

function material(
  pairs: readonly Pair[],
  ca: readonly X509Certificate[] | null,
  crl: readonly string[] | null,
): TlsMaterial {
  const complete = pairs.filter((pair) => pair !== null)
  const authorities = ca?.map(String) ?? null
  // The key is not hashed: it belongs to the certificate (checked), and hashes get printed.
  const hash = digest([complete.map((pair) => pair.cert), authorities, ...(crl === null ? [] : [crl])])
  return { cert: complete[0]?.cert ?? null, key: complete[0]?.key ?? null, pairs: complete, ca: authorities, crl, hash }
}

function serverKey(tls: ServerTls): string {
  return JSON.stringify([tls.mode, tls.certificates, tls.clientCa])
}

function upstreamKey(tls: UpstreamTlsModel): string {
  return JSON.stringify([tls.ca, tls.clientCertificate, tls.crl])
}

function found(materials: ReadonlyMap<string, TlsMaterial>, key: string): TlsMaterial {
  const value = materials.get(key)
  if (value === undefined) throw new Error(`these credentials were loaded for another model: ${key}`)
  return value
}

function digest(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex')
}
