/** Starts a gateway over a walk-through's own YAML; see README.md in this folder for the tokens. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { explain } from '../../src/cli/explain.ts'
import type { Explanation } from '../../src/cli/explain-parts.ts'
import { eventually } from '../../src/testing/eventually.ts'
import { type Harness, type LogLine, startHarness } from '../../src/testing/harness.ts'
import { type Answer, meshConnect, type RequestOptions, request } from '../../src/testing/mesh-client.ts'
import { type EchoOrigin, startEchoOrigin } from '../../src/testing/origin.ts'
import type { TestPki } from '../../src/testing/pki.ts'

export type Outside = {
  readonly httpPort: number
  readonly httpsPort: number
  /** PEM of the CA of the TLS sites, where it is not the mesh's. */
  readonly root?: string
}

/** Reads one file of a walk-through and puts the outside world's ports and CA in place of the tokens. */
export function scenarioFile(seed: string, file: string, outside: Outside, caFile: string): string {
  return readFileSync(join(import.meta.dirname, seed, file), 'utf8')
    .replaceAll('PORT_HTTPS', String(outside.httpsPort))
    .replaceAll('PORT_HTTP', String(outside.httpPort))
    .replaceAll('CA_FILE', caFile)
}

/**
 * @param files resource files of the walk-through that are mounted from the start
 * @param edit for what the page sets elsewhere (a console, the mesh's own settings): changes the bootstrap file's text
 */
export async function startScenario(
  seed: string,
  files: readonly string[],
  outside: Outside,
  pki: TestPki,
  edit: (bootstrap: string) => string = (bootstrap) => bootstrap,
): Promise<Harness> {
  const pathOf = new Map<string, string>()
  const harness = await startHarness({
    pki,
    resources: {},
    bootstrap: (paths) => {
      pathOf.set('ca', paths.caFile)
      if (outside.root !== undefined) writeFileSync(paths.caFile, outside.root)
      // Where the sidecars of walk-through 002's time kept their certificates (README.md).
      pathOf.set('/etc/certs', paths.identity)
      pathOf.set('identity', paths.identity)
      return edit(readFileSync(join(import.meta.dirname, seed, 'bootstrap.yaml'), 'utf8'))
        .replaceAll(/PORT_(80|443|444|ADMIN|METRICS|HEALTH)/g, '0')
        .replaceAll('IDENTITY_DIR', paths.identity)
        .replaceAll('ACCESS_LOG', paths.accessLog)
    },
  })
  const texts = Object.fromEntries(
    files.map((file) => [
      file,
      scenarioFile(seed, file, outside, pathOf.get('ca') ?? '').replaceAll(
        '/etc/certs',
        pathOf.get('identity') ?? '/etc/certs',
      ),
    ]),
  )
  const result = await harness.change(texts)
  if (!result.ok) {
    // Nobody else can: it would keep the test process alive.
    await harness.gateway.destroy()
    throw new Error(result.errors.join('\n'))
  }
  return harness
}

/** A gateway that cannot outlive its test: one that fails half-way must not keep the test process alive. */
export function endWith(t: TestContext, harness: Harness): Harness {
  t.after(() => harness.gateway.destroy())
  return harness
}

/** The access log as it is written, one entry per line; waits until there are `count`. */
export async function textLines({ paths }: Harness, count: number): Promise<string[]> {
  return eventually(`${count} lines of text`, () => {
    const lines = existsSync(paths.accessLog) ? readFileSync(paths.accessLog, 'utf8').split('\n').slice(0, -1) : []
    return lines.length >= count ? lines : null
  })
}

/** An `edit` for startScenario: Istio's text format instead of JSON. */
export function asText(bootstrap: string): string {
  return bootstrap.replace('accessLogFile:', 'accessLogEncoding: TEXT\n    accessLogFile:')
}

/** A test's outside world: one plain and one TLS site, the latter with a certificate of the test CA for `names`. */
export async function startOutside(
  pki: TestPki,
  names: readonly string[],
): Promise<Outside & { readonly plain: EchoOrigin; readonly secure: EchoOrigin; close(): Promise<void> }> {
  const certificate = await pki.serverCert(names[0] ?? 'example.org', { dns: [...names] })
  const plain = await startEchoOrigin({ name: 'plain' })
  const secure = await startEchoOrigin({ name: 'secure', tls: { cert: certificate.cert, key: certificate.key } })
  return {
    plain,
    secure,
    httpPort: plain.port,
    httpsPort: secure.port,
    root: pki.root,
    close: async () => {
      await plain.close()
      await secure.close()
    },
  }
}

/** These fields of an access-log line, in this order. */
export function fields(line: LogLine | undefined, keys: readonly string[]): unknown[] {
  return keys.map((key) => line?.[key])
}

/** One request as a workload's sidecar would send it. */
export async function callAs(
  harness: Harness,
  identity: string,
  host: string,
  options: RequestOptions = {},
  gatewayPort = 80,
): Promise<Answer> {
  const socket = await meshConnect({
    port: harness.gateway.port(gatewayPort),
    svid: await harness.pki.svid(identity),
    ca: harness.pki.root,
  })
  try {
    return await request(socket, host, options)
  } finally {
    socket.destroy()
  }
}

export type Explained = { readonly code: number; readonly result: Explanation }

/** What `sallyport explain` says: 0 allowed, 1 refused; with the JSON it printed. `what`: its arguments after `--port`. */
export async function explainedOn(
  harness: Harness,
  gatewayPort: number,
  identity: string | null,
  what: readonly string[],
): Promise<Explained> {
  let text = ''
  const from = identity === null ? [] : ['--from', `spiffe://cluster.local/ns/${identity.replace('/', '/sa/')}`]
  const args = ['-f', harness.configFile, '-o', 'json', ...from, '--port', `${gatewayPort}`, ...what]
  const code = await explain(args, { stdout: { write: (part) => (text += part) }, stderr: process.stderr })
  return { code, result: JSON.parse(text) as Explanation }
}
