/** The walk-throughs' directories as a user mounts them, with something in place of their tokens (test/scenarios/README.md). */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { TestContext } from 'node:test'
import { validate } from '../../src/cli/validate.ts'

/** TABLE: variant → its folder, and the files that are mounted together (the others belong to other steps of the page). */
export const VARIANTS = {
  'seed-000': ['seed-000', ['test', 'added', 'egress-by-egressgateway', 'deny-post']],
  'seed-000-upgrade': ['seed-000', ['test', 'added', 'egress-by-egressgateway-https-upgrade', 'deny-post']],
  'seed-000-tls': ['seed-000', ['test', 'added-tls', 'egress-by-egressgateway-tls', 'deny-post']],
  'seed-001': [
    'seed-001',
    ['sleep', 'added', 'service-entry', 'gateway', 'destination-rule', 'virtual-service', 'authorization-policy'],
  ],
  'seed-002-http-mtls': ['seed-002-http-mtls', ['added', 'service-entry', 'gateway', 'virtual-service']],
  'seed-002-http-plain': ['seed-002-http-plain', ['added', 'service-entry', 'gateway', 'virtual-service']],
  'seed-002-tls-mtls': ['seed-002-tls-mtls', ['added', 'service-entry', 'egress']],
  'seed-002-tls-passthrough': ['seed-002-tls-passthrough', ['added', 'service-entry', 'egress']],
  'seed-003': ['seed-003', ['added', 'service-entry', 'gateway', 'virtual-service']],
  'seed-004-allow-any': ['seed-004-allow-any', ['added']],
  'seed-004-registry-only': [
    'seed-004-registry-only',
    ['added', 'added-http', 'added-https', 'service-entry-http', 'service-entry-https'],
  ],
  'seed-004-route': ['seed-004-timeout', ['added', 'added-route', 'service-entry-http', 'virtual-service']],
  'seed-004-timeout': ['seed-004-timeout', ['added', 'added-timeout', 'service-entry-http', 'virtual-service']],
} as const satisfies Record<string, readonly [string, readonly string[]]>

export type Variant = keyof typeof VARIANTS

/** Files by name below the directory: `gateway.yaml` (the bootstrap) and `resources/NAME.yaml`. */
export type Files = Readonly<Record<string, string>>

const SCENARIOS = path.resolve(import.meta.dirname, '../scenarios')

export function variantFiles(variant: Variant): Files {
  const [folder, names] = VARIANTS[variant]
  const read = (name: string) =>
    readFileSync(path.join(SCENARIOS, folder, `${name}.yaml`), 'utf8')
      .replaceAll('PORT_HTTPS', '9443')
      .replaceAll('PORT_HTTP', '9080')
      .replaceAll(/PORT_(?:80|443|444|ADMIN|METRICS|HEALTH)/g, '0')
      .replaceAll('IDENTITY_DIR', '/etc/certs')
      .replaceAll('CA_FILE', '/etc/certs/outside.pem')
      .replaceAll('ACCESS_LOG', '/dev/stdout')
      .replaceAll('DNS_SERVER', '127.0.0.1:53')
  const resources = names.map((name) => [`resources/${name}.yaml`, read(name)] as const)
  return { 'gateway.yaml': read('bootstrap'), ...Object.fromEntries(resources) }
}

export type Validated = {
  readonly code: number
  /** `file:line:col severity CODE`, and the sentence behind it. */
  readonly findings: readonly { readonly place: string; readonly severity: string; readonly message: string }[]
}

/** `sallyport validate` over the files: the whole directory with its bootstrap, or the resources alone. */
export async function validated(t: TestContext, files: Files, what: 'bootstrap' | 'directory'): Promise<Validated> {
  const directory = mkdtempSync(path.join(tmpdir(), 'sallyport-validation-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  for (const [name, text] of Object.entries(files)) {
    const file = path.join(directory, name)
    mkdirSync(path.dirname(file), { recursive: true })
    writeFileSync(file, text)
  }
  let stdout = ''
  const argv = what === 'bootstrap' ? ['-f', path.join(directory, 'gateway.yaml')] : [path.join(directory, 'resources')]
  const code = await validate(argv, {
    stdout: { write: (text: string) => (stdout += text) },
    stderr: { write: () => true },
  })
  const lines = stdout.replaceAll(`${directory}/`, '').split('\n').slice(0, -1)
  return {
    code,
    findings: lines.map((line) => {
      const [place = '', severity = '', id = '', ...rest] = line.split(' ')
      return { place: `${place} ${id}`, severity, message: rest.join(' ') }
    }),
  }
}
