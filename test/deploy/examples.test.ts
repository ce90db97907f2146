/**
 * Every example below config/ starts: as a user would, with the certificates that config/README.md tells to make, by `sallyport run`,
 * until it says it is ready. Only ports are replaced (a free one for each). And every bootstrap file of the repository fits the schema that
 * editors are given for it.
 */
import assert from 'node:assert/strict'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { after, before, describe, it } from 'node:test'
import { Ajv } from 'ajv'
import { parse, stringify } from 'yaml'
import { DESCRIPTIONS } from '../../src/config/bootstrap-json-schema.ts'
import { createTestPki } from '../../src/testing/pki.ts'
import { run } from '../integration/child.ts'

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
    it(`config/${name} starts, becomes ready and ends`, { timeout: 60_000 }, async (t) => {
      const file = path.join(dir, 'config', name, 'gateway.yaml')
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
      const ready =
        gateway
          .stderr()
          .split('\n')
          .find((line) => line.includes('"gateway ready"')) ?? ''
      const { ports } = JSON.parse(ready) as { readonly ports: Readonly<Record<string, number>> }
      assert.deepEqual(Object.keys(ports), gatewayPorts)
      const { status } = await fetch(`http://127.0.0.1:${gateway.control('health')}/healthz/ready`)
      assert.equal(status, 200)
      gateway.child.kill('SIGTERM')
      assert.deepEqual(await gateway.ended, { code: 0, signal: null })
    })
})

describe('config/egress-gateway.schema.json', () => {
  const schema = JSON.parse(readFileSync(SCHEMA_FILE, 'utf8')) as object
  const validate = new Ajv().compile(schema)
  const errors = (document: unknown) => {
    validate(document)
    return validate.errors?.map(({ instancePath, message }) => `${instancePath} ${message}`) ?? []
  }
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
