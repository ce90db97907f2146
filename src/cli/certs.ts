/**
 * `sallyport certs`: a development CA and SVIDs from it, so that the gateway can be tried without a mesh. Not a CA for
 * production: the key lies in a file and nothing revokes or rotates.
 */
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import type { SpiffeId } from '../core/attributes.ts'
import { type ReadCertificate, readCertificate } from '../identity/certificate.ts'
import { type MintedAuthority, mintLeaf, mintRoot } from '../identity/mint.ts'
import { parseCertificates } from '../identity/pem.ts'
import { isTrustDomainId, parseSpiffeId } from '../identity/spiffe.ts'
import type { Io } from './io.ts'

/** Ends the command with this exit code and message: 1 it could not be done, 2 it was asked for wrongly. */
class CommandError extends Error {
  readonly exitCode: 1 | 2

  constructor(exitCode: 1 | 2, message: string) {
    super(message)
    this.exitCode = exitCode
  }
}

const USAGE = `usage: sallyport certs init  [--trust-domain cluster.local] [--dir certs] [--force]
       sallyport certs issue --spiffe spiffe://TD/ns/NS/sa/SA [--dns NAME]… [--ttl 24h] [--dir certs] [--out DIR] [--force]

init   makes a development CA: DIR/root-cert.pem and DIR/ca-key.pem
issue  makes an SVID from it: DIR/NS-SA/{cert-chain.pem,key.pem,root-cert.pem}
`

const ROOT_FILE = 'root-cert.pem'
const KEY_FILE = 'ca-key.pem'
const GATEWAY = 'istio-egressgateway.istio-system.svc.cluster.local'
const DNS_NAME =
  /^(?=.{1,253}$)(\*\.)?([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$/

/**
 * Runs `certs` with the arguments after that word. Resolves to the exit code: 0 done, 1 it could not be done (no CA,
 * something is in the way), 2 usage.
 */
export async function certs(argv: string[], io: Io): Promise<number> {
  const [command, ...rest] = argv
  try {
    if (command === 'init') return await init(rest, io)
    if (command === 'issue') return await issue(rest, io)
  } catch (error) {
    if (error instanceof CommandError) {
      io.stderr.write(`sallyport certs ${String(command)}: ${error.message}\n`)
      if (error.exitCode === 2) io.stderr.write(`\n${USAGE}`)
      return error.exitCode
    }
    if (!(error instanceof Error && 'syscall' in error)) throw error
    io.stderr.write(`sallyport certs ${String(command)}: ${error.message}\n`)
    return 1
  }
  const help = command === '--help' || command === '-h' || command === 'help'
  const output = help ? io.stdout : io.stderr
  output.write(USAGE)
  return help ? 0 : 2
}

async function init(argv: string[], io: Io): Promise<number> {
  const options = parse(() =>
    parseArgs({
      args: argv,
      options: {
        'trust-domain': { type: 'string', default: 'cluster.local' },
        dir: { type: 'string', default: 'certs' },
        force: { type: 'boolean', default: false },
      },
    }),
  )
  const domain = parseSpiffeId(`spiffe://${options['trust-domain']}`)
  if ('error' in domain) throw new CommandError(2, `--trust-domain ${options['trust-domain']}: ${domain.error}`)
  if (!isTrustDomainId(domain.id)) throw new CommandError(2, '--trust-domain: a name without "/" is wanted')
  const root = join(options.dir, ROOT_FILE)
  const key = join(options.dir, KEY_FILE)
  const inTheWay = [root, key].find((path) => existsSync(path))
  if (inTheWay !== undefined && !options.force)
    throw new CommandError(
      1,
      `${inTheWay} exists; --force replaces the CA, and every certificate it issued stops working`,
    )
  const { trustDomain } = domain.id
  const authority = await mintRoot(Date.now(), { commonName: `${trustDomain} development CA`, uris: [domain.id.uri] })
  mkdirSync(options.dir, { recursive: true })
  writeSecret(key, authority.privateKey)
  writePublic(root, authority.root)
  io.stdout.write(`A development CA for trust domain ${trustDomain}:
  ${root}   its certificate, the mesh trust bundle
  ${key}      its private key: whoever reads it can be anyone in this mesh

Next: sallyport certs issue --spiffe spiffe://${trustDomain}/ns/NAMESPACE/sa/SERVICEACCOUNT
`)
  return 0
}

async function issue(argv: string[], io: Io): Promise<number> {
  const options = parse(() =>
    parseArgs({
      args: argv,
      options: {
        spiffe: { type: 'string' },
        dns: { type: 'string', multiple: true, default: [] },
        ttl: { type: 'string', default: '24h' },
        dir: { type: 'string', default: 'certs' },
        out: { type: 'string' },
        force: { type: 'boolean', default: false },
      },
    }),
  )
  if (options.spiffe === undefined) throw new CommandError(2, '--spiffe is needed')
  const parsed = parseSpiffeId(options.spiffe)
  if ('error' in parsed) throw new CommandError(2, `--spiffe ${options.spiffe}: ${parsed.error}`)
  const { id } = parsed
  if (isTrustDomainId(id))
    throw new CommandError(2, `--spiffe ${options.spiffe}: names a trust domain, not a workload (no path)`)
  for (const name of options.dns) if (!DNS_NAME.test(name)) throw new CommandError(2, `--dns ${name}: not a DNS name`)
  const ttlMs = parseTtl(options.ttl)
  const { authority, reading } = readAuthority(options.dir)
  const now = Date.now()
  if (reading.id !== null && reading.id.trustDomain !== id.trustDomain)
    throw new CommandError(
      1,
      `the CA in ${options.dir} is for ${reading.id.trustDomain}; make one for ${id.trustDomain} with certs init --trust-domain ${id.trustDomain} --dir OTHER`,
    )
  if (now + ttlMs > reading.facts.notAfter)
    throw new CommandError(
      1,
      `the CA itself ends ${new Date(reading.facts.notAfter).toISOString()}: choose a shorter --ttl or run certs init --force`,
    )

  const out = options.out ?? join(options.dir, folderFor(id))
  const files = { chain: join(out, 'cert-chain.pem'), key: join(out, 'key.pem'), root: join(out, ROOT_FILE) }
  if (!options.force) refuseOtherIdentity(files.chain, id)
  const dns = [...new Set([...serviceNames(id), ...options.dns])]
  const svid = await mintLeaf(authority, now, { uris: [id.uri], dns, notAfter: now + ttlMs })
  mkdirSync(out, { recursive: true })
  writeSecret(files.key, svid.privateKey)
  writePublic(files.chain, svid.chain)
  writePublic(files.root, authority.root)
  io.stdout.write(report(id, dns, now + ttlMs, files))
  return 0
}

function report(
  id: SpiffeId,
  dns: readonly string[],
  notAfter: number,
  files: { chain: string; key: string; root: string },
): string {
  const [chain, key, root] = [files.chain, files.key, files.root].map(shellQuote)
  return `${id.uri}
  DNS names    ${dns.join(', ') || '(none)'}
  valid until  ${new Date(notAfter).toISOString()}
  ${files.chain}
  ${files.key}
  ${files.root}

As the gateway's identity (bootstrap file, under spec):
  identity:
    certificateChain: ${resolve(files.chain)}
    privateKey: ${resolve(files.key)}
    trustBundle: ${resolve(files.root)}

As a caller (a gateway on 127.0.0.1:8080 that serves Gateway port 80):
  curl --cert ${chain} --key ${key} --cacert ${root} \\
    --connect-to ${GATEWAY}:80:127.0.0.1:8080 \\
    -H 'Host: httpbin.org' https://${GATEWAY}:80/anything
`
}

function parse<T>(run: () => { values: T }): T {
  try {
    return run().values
  } catch (error) {
    throw new CommandError(2, error instanceof Error ? error.message : String(error))
  }
}

/** A Go duration in hours, minutes and seconds, such as `24h` or `1h30m`, in milliseconds. */
function parseTtl(text: string): number {
  const match = /^(?=.)(?:(\d{1,6})h)?(?:(\d{1,8})m)?(?:(\d{1,9})s)?$/.exec(text)
  const [hours, minutes, seconds] = (match ?? []).slice(1).map((part) => Number(part ?? 0))
  const ms = ((hours ?? 0) * 3600 + (minutes ?? 0) * 60 + (seconds ?? 0)) * 1000
  if (match === null || ms <= 0) throw new CommandError(2, `--ttl ${text}: want a duration such as 24h, 90m or 30s`)
  return ms
}

function readAuthority(dir: string): { authority: MintedAuthority; reading: ReadCertificate } {
  const [rootPath, keyPath] = [join(dir, ROOT_FILE), join(dir, KEY_FILE)]
  if (!existsSync(rootPath) || !existsSync(keyPath))
    throw new CommandError(
      1,
      `no CA in ${dir} (${ROOT_FILE}, ${KEY_FILE}); make one with: sallyport certs init --dir ${shellQuote(dir)}`,
    )
  const root = readFileSync(rootPath, 'utf8')
  const certificate = firstCertificate(root, rootPath)
  const authority = { certificate: root, root, chain: '', privateKey: readFileSync(keyPath, 'utf8') }
  return { authority, reading: certificate }
}

function firstCertificate(pem: string, path: string): ReadCertificate {
  try {
    const [certificate] = parseCertificates(pem)
    const reading = certificate === undefined ? null : readCertificate(certificate.raw)
    if (reading?.kind === 'read') return reading
  } catch {
    // Said below, with the path.
  }
  throw new CommandError(1, `${path} is not a PEM certificate`)
}

/** `NS-SA` names a folder for two identities (`a-b`/`c`, `a`/`b-c`): the second must not replace the first unasked. */
function refuseOtherIdentity(path: string, id: SpiffeId): void {
  if (!existsSync(path)) return
  const found = firstCertificate(readFileSync(path, 'utf8'), path).facts.uriSans.join(', ')
  if (found !== id.uri)
    throw new CommandError(1, `${path} belongs to ${found || 'something else'}; choose --out DIR, or --force`)
}

function folderFor(id: SpiffeId): string {
  if (id.namespace !== null && id.serviceAccount !== null) return `${id.namespace}-${id.serviceAccount}`
  return id.uri.split('/').slice(3).join('-')
}

/**
 * The names under which callers reach a gateway that runs as this account: its Service is called like the account, in
 * Istio's charts without the suffix `-service-account`. Names that are not DNS labels are left out.
 */
function serviceNames({ namespace, serviceAccount }: SpiffeId): string[] {
  if (namespace === null || serviceAccount === null) return []
  const services = new Set([serviceAccount, serviceAccount.replace(/(?<=.)-service-account$/, '')])
  return [...services]
    .map((service) => `${service}.${namespace}.svc.cluster.local`)
    .filter((name) => DNS_NAME.test(name))
}

function writePublic(path: string, text: string): void {
  replaceFile(path, text, 0o644)
}

function writeSecret(path: string, text: string): void {
  replaceFile(path, text, 0o600)
}

/** By rename, so that a gateway that watches the file never reads half of it; the mode holds from the first byte. */
function replaceFile(path: string, text: string, mode: number): void {
  const temporary = `${path}.${process.pid}.tmp`
  try {
    writeFileSync(temporary, text, { mode, flag: 'wx' })
    chmodSync(temporary, mode)
    renameSync(temporary, path)
  } catch (error) {
    rmSync(temporary, { force: true })
    throw error
  }
}

function shellQuote(text: string): string {
  return /^[A-Za-z0-9_./:@%+=-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
}
