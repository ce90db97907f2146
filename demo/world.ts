/**
 * What the demo needs around the gateway, all of it on this machine and in one temporary directory: a mesh CA, an SVID per
 * workload, and two sites that stand for the Internet. Nothing here outlives the demo.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { type EchoOrigin, startEchoOrigin } from '../src/testing/origin.ts'
import { createTestPki, type TestPki } from '../src/testing/pki.ts'

const SCENARIOS = path.join(import.meta.dirname, '../test/scenarios')
/** The names callers use: that of the gateway's Service, and those of the sites that the HTTPS one has a certificate for. */
export const GATEWAY_NAME = 'istio-egressgateway.istio-system.svc.cluster.local'
const GATEWAY_ACCOUNT = 'istio-system/istio-egressgateway'
const SITES = ['httpbin.org', 'www.httpbin.org'] as const

export type Site = 'http' | 'https'

export class World implements AsyncDisposable {
  readonly dir: string
  readonly #mesh: TestPki
  readonly #sites: Readonly<Record<Site, EchoOrigin>>
  readonly #issued = new Set<string>()
  /** PEM file of the CA that vouches for the HTTPS site: another one than the mesh's, as outside. */
  readonly #siteCa: string

  /** Makes the CAs and starts the sites. */
  static async create(): Promise<World> {
    const mesh = await createTestPki()
    const publicCa = await createTestPki({ trustDomain: 'public-ca.example' })
    const certificate = await publicCa.serverCert(SITES[0], { dns: SITES })
    await using started = new AsyncDisposableStack()
    const http = await startEchoOrigin({ name: 'the HTTP site' })
    started.defer(() => http.close())
    const https = await startEchoOrigin({
      name: 'the HTTPS site',
      tls: { cert: certificate.cert, key: certificate.key },
    })
    started.defer(() => https.close())
    const world = new World(mesh, publicCa, { http, https })
    started.move()
    return world
  }

  private constructor(mesh: TestPki, publicCa: TestPki, sites: Readonly<Record<Site, EchoOrigin>>) {
    this.dir = mkdtempSync(path.join(tmpdir(), 'sallyport-demo-'))
    this.#mesh = mesh
    this.#sites = sites
    process.on('exit', this.#removeFiles)
    this.#siteCa = publicCa.writeTo(path.join(this.dir, 'public-ca'))
  }

  port(site: Site): number {
    return this.#sites[site].port
  }

  /** Every request that has arrived outside so far, as `http GET /anything`. */
  get arrivals(): readonly string[] {
    return (['http', 'https'] as const).flatMap((site) =>
      this.#sites[site].requests.map((request) => `${site} ${request}`),
    )
  }

  /** Directory with cert-chain.pem, key.pem and root-cert.pem of `NAMESPACE/ACCOUNT`, made at the first call. */
  async identity(account: string): Promise<string> {
    const dir = path.join(this.dir, 'certs', account.replace('/', '-'))
    if (!this.#issued.has(account)) {
      const svid = await this.#mesh.svid(account, account === GATEWAY_ACCOUNT ? { dns: [GATEWAY_NAME] } : {})
      svid.writeTo(dir)
      this.#issued.add(account)
    }
    return dir
  }

  /** The mesh CA alone, for a caller that has no certificate. */
  get meshCa(): string {
    return this.#mesh.writeTo(path.join(this.dir, 'certs'))
  }

  /** Lays out a gateway for a walk-through: bootstrap and resources. Resolves to the bootstrap file. */
  async furnish(seed: string, files: readonly string[]): Promise<string> {
    const identity = await this.identity(GATEWAY_ACCOUNT)
    const dir = this.#gatewayDir(seed)
    mkdirSync(path.join(dir, 'resources'), { recursive: true })
    const bootstrap = readFileSync(path.join(SCENARIOS, seed, 'bootstrap.yaml'), 'utf8')
      .replaceAll(/PORT_(80|443|444|ADMIN|METRICS|HEALTH)/g, '0')
      .replaceAll('IDENTITY_DIR', identity)
      .replaceAll('ACCESS_LOG', '/dev/stdout')
    const bootstrapFile = path.join(dir, 'gateway.yaml')
    writeFileSync(bootstrapFile, bootstrap)
    this.change(seed, Object.fromEntries(files.map((file) => [file, file])))
    return bootstrapFile
  }

  /** Writes resource files of a running gateway from the walk-through's, or with null deletes them. */
  change(seed: string, files: Readonly<Record<string, string | null>>): void {
    for (const [name, source] of Object.entries(files)) {
      const file = path.join(this.#gatewayDir(seed), 'resources', name)
      if (source === null) rmSync(file, { force: true })
      else writeFileSync(file, this.source(seed, source))
    }
  }

  /** A walk-through's file with the tokens of test/scenarios/README.md filled in. */
  source(seed: string, file: string): string {
    return readFileSync(path.join(SCENARIOS, seed, file), 'utf8')
      .replaceAll('PORT_HTTPS', String(this.port('https')))
      .replaceAll('PORT_HTTP', String(this.port('http')))
      .replaceAll('CA_FILE', this.#siteCa)
  }

  #gatewayDir(seed: string): string {
    return path.join(this.dir, seed)
  }

  /** At once: also for the very last moment, when an exception nobody caught ends the process without unwinding. */
  readonly #removeFiles = (): void => rmSync(this.dir, { recursive: true, force: true })

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#sites.http.close(), this.#sites.https.close()])
    this.#removeFiles()
    process.off('exit', this.#removeFiles)
  }
}
