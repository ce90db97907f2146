/** Sallyport as a contender: a configuration of its own, policies, JSON log to a file, metrics on. */
import { spawnSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { eventually } from '../../src/testing/eventually.ts'
import {
  authorizationPolicy,
  destinationRule,
  documents,
  gateway,
  ISTIO_MUTUAL,
  type Manifest,
  serviceEntry,
  to,
  virtualService,
} from '../../test/integration/manifests.ts'
import { start } from '../measure/processes.ts'
import { type Contender, type Engine, NAMES } from './contender.ts'
import type { Limited } from './limits.ts'
import { CALLER, HOSTS, type World } from './world.ts'

const CHECKOUT = join(import.meta.dirname, '../..')
const READY_WITHIN_MS = 120_000
const MESH = 80
const OUTSIDE = 443

/** How much more than the benchmark's own three hosts and three policies is loaded. */
export type Bulk = { readonly hosts: number; readonly policies: number }

const NO_BULK: Bulk = { hosts: 0, policies: 0 }
const UNLIMITED: Limited = { resources: [], spec: {} }

export type SallyportOptions = {
  readonly name?: string
  readonly bulk?: Bulk
  /** Whose bin/sallyport; default: this one's. */
  readonly checkout?: string
  /** More of `meshConfig`: another access log. */
  readonly meshConfig?: Readonly<Record<string, string>>
  /** Limits, and where they are counted. */
  readonly limited?: Limited
}

export async function startSallyport(
  world: World,
  engine: Engine,
  {
    name = NAMES[engine],
    bulk = NO_BULK,
    checkout = CHECKOUT,
    meshConfig = {},
    limited = UNLIMITED,
  }: SallyportOptions = {},
): Promise<Contender> {
  const dir = world.directory(name.toLowerCase())
  const log = join(dir, 'access.log')
  const config = writeConfiguration(world, dir, engine, { accessLogFile: log, ...meshConfig }, bulk, limited)
  const running = start(join(checkout, 'bin/sallyport'), ['run', '-f', config], { measured: true })
  try {
    const ready = await eventually(
      `${name} is ready`,
      () => {
        running.assertAlive()
        return /"ports":(\{[^}]*\})/.exec(running.stderr())
      },
      READY_WITHIN_MS,
    )
    const ports = JSON.parse(ready[1] ?? '{}') as Readonly<Record<string, number>>
    return { name, running, port: ports[MESH] ?? 0, log: meshConfig['accessLogFile'] === '' ? null : log }
  } catch (error) {
    await running.stop()
    throw error
  }
}

/** null: the checkout has the engine; else what it says. */
export function engineProblem(world: World, engine: Engine, checkout = CHECKOUT): string | null {
  const dir = world.directory(`probe-${engine}`)
  const config = writeConfiguration(world, dir, engine, { accessLogFile: join(dir, 'access.log') }, NO_BULK)
  const { status, stdout, stderr } = spawnSync(join(checkout, 'bin/sallyport'), ['validate', '-f', config], {
    encoding: 'utf8',
  })
  return status === 0 ? null : `${stdout}${stderr}`.trim()
}

function writeConfiguration(
  world: World,
  dir: string,
  engine: Engine,
  meshConfig: Readonly<Record<string, string>>,
  bulk: Bulk,
  limited: Limited = UNLIMITED,
): string {
  mkdirSync(join(dir, 'resources'))
  writeFileSync(join(dir, 'resources', 'bench.yaml'), documents(...ownResources(world), ...limited.resources))
  if (bulk.hosts + bulk.policies > 0)
    writeFileSync(join(dir, 'resources', 'bulk.yaml'), documents(...bulkResources(bulk)))
  const { certificateChain, privateKey, trustBundle } = world.gatewayFiles
  const port0 = { address: '127.0.0.1', port: 0 }
  const file = join(dir, 'gateway.yaml')
  const bootstrap = {
    apiVersion: 'sallyport.dev/v1',
    kind: 'EgressGateway',
    metadata: { name: 'istio-egressgateway', namespace: 'istio-system', labels: { istio: 'egressgateway' } },
    spec: {
      resources: ['./resources'],
      meshConfig,
      identity: { certificateChain, privateKey, trustBundle },
      bindAddress: '127.0.0.1',
      ports: { [MESH]: 0 },
      http: { engine },
      admin: port0,
      metrics: port0,
      health: port0,
      ...limited.spec,
    },
  }
  writeFileSync(file, JSON.stringify(bootstrap))
  return file
}

function ownResources({ sites, gatewayFiles }: World): readonly Manifest[] {
  const { plain, tls, refused } = HOSTS
  const simple = { mode: 'SIMPLE', sni: tls, subjectAltNames: [tls], caCertificates: gatewayFiles.trustBundle }
  return [
    gateway({ number: MESH, name: 'mesh', tls: ISTIO_MUTUAL }),
    serviceEntry('plain', plain, sites.plain),
    serviceEntry('tls', tls, sites.tls, { port: OUTSIDE, protocol: 'HTTP' }),
    serviceEntry('refused', refused, sites.plain),
    virtualService('plain', [plain], [{ route: to(plain) }]),
    virtualService('tls', [tls], [{ route: to(tls, OUTSIDE) }]),
    virtualService('refused', [refused], [{ route: to(refused) }]),
    destinationRule('tls', tls, { tls: simple }),
    allow('caller', CALLER.account, [plain, tls]),
    allow('others', 'default/other', [refused]),
    authorizationPolicy('no-writing', 'DENY', [
      { to: [{ operation: { hosts: [plain, tls], methods: ['DELETE', 'PATCH'] } }] },
    ]),
  ]
}

function allow(name: string, account: string, hosts: readonly string[]): Manifest {
  const principal = `cluster.local/ns/${account.replace('/', '/sa/')}`
  return authorizationPolicy(name, 'ALLOW', [
    { from: [{ source: { principals: [principal] } }], to: [{ operation: { hosts, methods: ['GET', 'POST'] } }] },
  ])
}

/** Other teams' hosts, each with its route, and policies, each for a caller of its own and five of the hosts. */
function bulkResources({ hosts, policies }: Bulk): readonly Manifest[] {
  const names = Array.from({ length: hosts }, (_, i) => `host-${i}.bulk.example`)
  return [
    ...names.map((host, i) => serviceEntry(`host-${i}`, host, 80)),
    ...names.map((host, i) => virtualService(`host-${i}`, [host], [{ route: to(host) }])),
    ...Array.from({ length: policies }, (_, i) =>
      allow(
        `team-${i}`,
        `team-${i}/app`,
        Array.from({ length: 5 }, (_unused, at) => names[(i * 5 + at) % names.length] ?? `none-${i}.example`),
      ),
    ),
  ]
}
