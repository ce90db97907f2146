/**
 * A whole gateway in the test process: port 0, minted certificates, files in a directory of its own. `stop()` drains,
 * asserts that nothing is left open, and removes the directory.
 */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { Gateway } from '../app/gateway.ts'
import { createSink } from '../observe/access-log/sink.ts'
import { createLog } from '../observe/log.ts'
import { engineUnderTest } from './engine.ts'
import { eventually } from './eventually.ts'
import { createTestPki, type TestPki } from './pki.ts'

export type HarnessOptions = {
  /** File name (below resources/) → YAML. */
  readonly resources: Readonly<Record<string, string>>
  /** Merged over the default `spec` of the bootstrap, one level deep. */
  readonly spec?: Readonly<Record<string, unknown>>
  readonly metadata?: Readonly<Record<string, unknown>>
  /** A whole bootstrap file instead; see `bootstrapText`. */
  readonly bootstrap?: (paths: HarnessPaths) => string
  readonly pki?: TestPki
  readonly watch?: boolean
}

export type HarnessPaths = {
  readonly dir: string
  readonly identity: string
  readonly accessLog: string
  readonly caFile: string
}

export type LogLine = Readonly<Record<string, unknown>>

export type Harness = {
  readonly gateway: Gateway
  readonly pki: TestPki
  readonly paths: HarnessPaths
  readonly configFile: string
  /** The operational log, one parsed line each. */
  readonly log: () => LogLine[]
  /** Writes (or with null deletes) files below resources/ and reloads; answers the reload's result. */
  change(resources: Readonly<Record<string, string | null>>): ReturnType<Gateway['reload']>
  /** Waits until the access log has at least `count` lines; answers all of them, parsed. */
  lines(count: number): Promise<LogLine[]>
  /** Drains and asserts a clean end: every connection closed, exactly `expectedLines` records when given. */
  stop(expectedLines?: number): Promise<void>
}

export const GATEWAY_ID = 'istio-system/istio-egressgateway-service-account'

/** Starts a gateway over the given resources. @throws StartError as Gateway.start does */
export async function startHarness(options: HarnessOptions): Promise<Harness> {
  const pki = options.pki ?? (await createTestPki())
  const dir = mkdtempSync(join(tmpdir(), 'sallyport-test-'))
  const svid = await pki.svid(GATEWAY_ID, { dns: ['istio-egressgateway.istio-system.svc.cluster.local'] })
  const identity = join(dir, 'identity')
  svid.writeTo(identity)
  const caFile = join(dir, 'outside-ca.pem')
  writeFileSync(caFile, pki.root)
  const paths: HarnessPaths = { dir, identity, accessLog: join(dir, 'access.log'), caFile }
  const configFile = join(dir, 'gateway.yaml')
  writeFileSync(
    configFile,
    options.bootstrap === undefined ? defaultBootstrap(options, paths) : options.bootstrap(paths),
  )
  mkdirSync(join(dir, 'resources'))
  writeResources(dir, options.resources)
  const operational = join(dir, 'operational.log')
  const sink = createSink({ path: operational })
  let gateway: Gateway
  try {
    gateway = await Gateway.start({ configFile, log: createLog(sink, 'debug'), watch: options.watch ?? false })
  } catch (error) {
    await sink.close()
    rmSync(dir, { recursive: true, force: true })
    throw error
  }
  const read = (file: string) => parseLines(file)
  return {
    gateway,
    pki,
    paths,
    configFile,
    log: () => read(operational),
    change: async (resources) => {
      writeResources(dir, resources)
      return gateway.reload()
    },
    lines: (count) =>
      eventually(`${count} access-log lines`, () => {
        const lines = read(paths.accessLog)
        return lines.length >= count ? lines : null
      }),
    stop: async (expectedLines) => {
      await gateway.close()
      assert.equal(gateway.lifecycle.phase, 'closed')
      await sink.close()
      // Not parsed: the log may be in Istio's text format.
      const count = wholeLines(paths.accessLog).length
      rmSync(dir, { recursive: true, force: true })
      if (expectedLines !== undefined)
        assert.equal(count, expectedLines, 'one access-log line per request or connection')
    },
  }
}

function writeResources(dir: string, resources: Readonly<Record<string, string | null>>): void {
  for (const [name, text] of Object.entries(resources)) {
    const file = join(dir, 'resources', name)
    mkdirSync(dirname(file), { recursive: true })
    if (text === null) rmSync(file, { force: true })
    else writeFileSync(file, text)
  }
}

function parseLines(file: string): LogLine[] {
  return wholeLines(file).map((line) => JSON.parse(line) as LogLine)
}

function wholeLines(file: string): string[] {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch {
    return []
  }
  // The last piece may still be in the middle of being written.
  return text
    .slice(0, text.lastIndexOf('\n') + 1)
    .split('\n')
    .filter((line) => line !== '')
}

/** JSON is YAML: the default bootstrap, every port picked by the system. */
function defaultBootstrap(options: HarnessOptions, paths: HarnessPaths): string {
  const { meshConfig, http, ...rest } = (options.spec ?? {}) as { meshConfig?: object; http?: object }
  const engine = engineUnderTest()
  return JSON.stringify({
    apiVersion: 'sallyport.dev/v1',
    kind: 'EgressGateway',
    metadata: {
      name: 'istio-egressgateway',
      namespace: 'istio-system',
      labels: { istio: 'egressgateway', app: 'istio-egressgateway' },
      ...options.metadata,
    },
    spec: {
      resources: ['./resources'],
      meshConfig: { accessLogFile: paths.accessLog, ...meshConfig },
      identity: {
        certificateChain: join(paths.identity, 'cert-chain.pem'),
        privateKey: join(paths.identity, 'key.pem'),
        trustBundle: join(paths.identity, 'root-cert.pem'),
      },
      secretsDirectory: join(paths.dir, 'secrets'),
      bindAddress: '127.0.0.1',
      ports: { 80: 0, 443: 0 },
      drainDuration: '5s',
      admin: { address: '127.0.0.1', port: 0 },
      metrics: { address: '127.0.0.1', port: 0 },
      health: { address: '127.0.0.1', port: 0 },
      http: { ...(engine === null ? {} : { engine }), ...http },
      ...rest,
    },
  })
}
