/**
 * Every example below config/, and every bootstrap file shown in a page, starts: as a user would, with the certificates that config/README.md
 * tells to make, by `sallyport run`, until it says it is ready. Only ports are replaced (a free one for each). Every other bootstrap
 * file of the repository is started by a test that the table names. And each names, and fits, the schema that editors are given for it.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { after, before, describe, it, type TestContext } from 'node:test'
import { parse, stringify } from 'yaml'
import { DESCRIPTIONS } from '../../src/config/bootstrap-json-schema.ts'
import { createTestPki } from '../../src/testing/pki.ts'
import { run } from '../integration/child.ts'
import { INSTALLABLE } from './installation.ts'
import { misfits } from './yaml-schemas.ts'

const ROOT = path.resolve(import.meta.dirname, '../..')
const SCHEMA_FILE = path.join(ROOT, 'config/egress-gateway.schema.json')
const EXAMPLES = readdirSync(path.join(ROOT, 'config'), { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => name)
const BOOTSTRAPS = [...EXAMPLES.map((name) => `config/${name}/gateway.yaml`), 'compose/gateway/gateway.yaml']

type Bootstrap = { readonly spec: Record<string, unknown> & { readonly ports: Readonly<Record<string, number>> } }

describe('examples', () => {
  let dir: string
  before(async () => {
    dir = mkdtempSync(path.join(tmpdir(), 'sallyport-examples-'))
    cpSync(path.join(ROOT, 'config'), path.join(dir, 'config'), { recursive: true })
    const pki = await createTestPki()
    mkdirSync(path.join(dir, 'certs'))
    const identity = await pki.svid('istio-system/istio-egressgateway')
    identity.writeTo(path.join(dir, 'certs/istio-system-istio-egressgateway'))
  })
  after(() => rmSync(dir, { recursive: true, force: true }))

  for (const name of EXAMPLES)
    it(`config/${name} starts, becomes ready and ends`, { timeout: 110_000 }, (t) =>
      starts(t, path.join(dir, 'config', name, 'gateway.yaml')),
    )

  for (const [page, index, block] of pageBlocks())
    it(`${page}, block ${index + 1}, starts, becomes ready and ends`, { timeout: 110_000 }, (t) => {
      const folder = path.join(dir, 'pages', page.replaceAll('/', '_'), String(index))
      mkdirSync(path.join(folder, 'resources'), { recursive: true })
      const file = path.join(folder, 'gateway.yaml')
      const document = parse(block) as Bootstrap
      // Where a page leaves it to the default, which is a place in a pod.
      document.spec['identity'] ??= identityIn(path.join(dir, 'certs/istio-system-istio-egressgateway'))
      writeFileSync(file, stringify(document))
      return starts(t, file)
    })
})

const identityIn = (folder: string) => ({
  certificateChain: path.join(folder, 'cert-chain.pem'),
  privateKey: path.join(folder, 'key.pem'),
  trustBundle: path.join(folder, 'root-cert.pem'),
})

/** Bootstrap files in pages: page, number of the block, text. */
function pageBlocks(): readonly (readonly [string, number, string])[] {
  return committed('*.md').flatMap((page) =>
    [...readFileSync(path.join(ROOT, page), 'utf8').matchAll(/^```yaml\n([\s\S]*?)^```/gm)].flatMap(
      ([, block = ''], index) => (block.includes('kind: EgressGateway') ? [[page, index, block] as const] : []),
    ),
  )
}

/** Files that are committed, or would be; nothing where this is no git repository. */
function committed(pattern: string): readonly string[] {
  const args = ['ls-files', '--cached', '--others', '--exclude-standard', '-z', '--', pattern]
  const { stdout } = spawnSync('git', args, { cwd: ROOT, encoding: 'utf8' })
  return stdout.split('\0').filter((file) => file !== '' && existsSync(path.join(ROOT, file)))
}

/** Rewrites the ports of a bootstrap file to "any", runs it, asks for its health, and ends it. */
async function starts(t: TestContext, file: string): Promise<void> {
  const bootstrap = parse(readFileSync(file, 'utf8')) as Bootstrap
  const gatewayPorts = Object.keys(bootstrap.spec.ports)
  const loopback = { address: '127.0.0.1', port: 0 }
  Object.assign(bootstrap.spec, {
    bindAddress: '127.0.0.1',
    ports: Object.fromEntries(gatewayPorts.map((port) => [port, 0])),
    admin: loopback,
    metrics: loopback,
    health: loopback,
  })
  writeFileSync(file, stringify(bootstrap))
  const gateway = await run(t, file)
  gateway.child.stdout.resume()
  const said = gateway.stderr().split('\n')
  const ready = said.find((line) => line.includes('"gateway ready"')) ?? ''
  const { ports } = JSON.parse(ready) as { readonly ports: Readonly<Record<string, number>> }
  assert.deepEqual(Object.keys(ports), gatewayPorts)
  const { status } = await fetch(`http://127.0.0.1:${gateway.control('health')}/healthz/ready`)
  assert.equal(status, 200)
  gateway.child.kill('SIGTERM')
  assert.deepEqual(await gateway.ended, { code: 0, signal: null })
}

/** TABLE: which test starts a bootstrap file, and the words by which that test names it. */
const STARTED: readonly (readonly [RegExp, string, RegExp])[] = [
  [/^config\/[^/]+\/gateway\.yaml$/, 'test/deploy/examples.test.ts', /of EXAMPLES/],
  [/^compose\/gateway\/gateway\.yaml$/, 'test/deploy/demo.test.ts', /compose\/gateway/],
  [/^k8s\/base\/config\/gateway\.yaml$/, 'test/deploy/k8s-start.test.ts', /of \[\.\.\.INSTALLABLE/],
  [/^k8s\/(?:overlays|examples)\/[^/]+\/gateway\.yaml$/, 'test/deploy/k8s-start.test.ts', /of \[\.\.\.INSTALLABLE/],
  [/^test\/scenarios\/seed-[^/]+\/bootstrap\.yaml$/, 'test/scenarios/scenario.ts', /bootstrap\.yaml/],
  // Read, and held against what is expected of them.
  [/^test\/golden\/[\w.-]+\.yaml$/, 'test/golden.test.ts', /bootstrap\.yaml/],
]

describe('every bootstrap file of the repository is started by a test', () => {
  const files = [...committed('*.yaml'), ...committed('*.yml')].filter((file) =>
    /^kind: EgressGateway$/m.test(readFileSync(path.join(ROOT, file), 'utf8')),
  )
  for (const file of files)
    it(file, () => {
      const rows = STARTED.filter(([pattern]) => pattern.test(file))
      assert.equal(rows.length, 1, 'no test starts it')
      for (const [, test, named] of rows) assert.match(readFileSync(path.join(ROOT, test), 'utf8'), named)
      const [, overlay = ''] = /^k8s\/((?:overlays|examples)\/[^/]+)\//.exec(file) ?? []
      if (overlay !== '') assert.ok((INSTALLABLE as readonly string[]).includes(overlay), overlay)
    })
})

describe('config/egress-gateway.schema.json', () => {
  const schema = JSON.parse(readFileSync(SCHEMA_FILE, 'utf8')) as object
  const errors = (document: unknown) => misfits('bootstrap', document)
  const minimal = () => parse(readFileSync(path.join(ROOT, 'config/minimal/gateway.yaml'), 'utf8')) as Bootstrap

  for (const file of BOOTSTRAPS)
    it(`is named by the first line of ${file}, which fits it`, () => {
      const text = readFileSync(path.join(ROOT, file), 'utf8')
      const [, named = ''] = /^# yaml-language-server: \$schema=(\S+)\n/.exec(text) ?? []
      assert.equal(path.resolve(ROOT, path.dirname(file), named), SCHEMA_FILE)
      assert.deepEqual(errors(parse(text)), [])
    })

  for (const [what, spec] of [
    ['an unknown field', { recources: [] }],
    ['an unknown field further down', { dns: { ttl: '1s' } }],
    ['a port out of range', { ports: { 80: 65_536 } }],
    ['a mode there is not', { meshConfig: { outboundTrafficPolicy: { mode: 'ALLOW_ALL' } } }],
    ['a duration without unit', { drainDuration: '30' }],
  ] as const)
    it(`refuses ${what}`, () => {
      const document = minimal()
      assert.equal(errors({ ...document, spec: { ...document.spec, ...spec } }).length > 0, true)
    })

  for (const duration of ['0', '1h30m', '500ms', '1.5s', '.5s'])
    it(`takes the duration ${duration}`, () => {
      const document = minimal()
      assert.deepEqual(errors({ ...document, spec: { ...document.spec, drainDuration: duration } }), [])
    })

  it('describes every field, and describes nothing else', () => {
    type Node = { readonly properties?: Readonly<Record<string, Node>> }
    const fields = ({ properties = {} }: Node, above: readonly string[]): string[] =>
      Object.entries(properties).flatMap(([name, node]) => [
        [...above, name].join('.'),
        ...fields(node, [...above, name]),
      ])
    const found = fields(schema, [])
      .filter((field) => field !== 'apiVersion' && field !== 'kind')
      .map((field) => field.replace(/^spec\./, ''))
    assert.deepEqual(found.toSorted(), Object.keys(DESCRIPTIONS).toSorted())
  })
})
