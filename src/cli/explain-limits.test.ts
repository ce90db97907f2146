import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { explain } from './explain.ts'
import type { Explanation } from './explain-parts.ts'

const RESOURCES = `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: egress, namespace: istio-system }
spec:
  selector: { istio: egressgateway }
  servers:
    - { port: { number: 80, name: http, protocol: HTTP }, hosts: ['*'] }
    - { port: { number: 9000, name: tcp, protocol: TCP }, hosts: ['*'] }
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: site, namespace: istio-system }
spec:
  hosts: [site.example]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{ number: 80, name: http, protocol: HTTP }, { number: 9000, name: tcp, protocol: TCP }]
  endpoints: [{ address: 192.0.2.1 }]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: site, namespace: istio-system }
spec:
  hosts: [site.example]
  gateways: [istio-system/egress]
  http: [{ route: [{ destination: { host: site.example, port: { number: 80 } } }] }]
  tcp: [{ match: [{ port: 9000 }], route: [{ destination: { host: site.example, port: { number: 9000 } } }] }]
---
apiVersion: sallyport.dev/v1alpha1
kind: EgressRateLimit
metadata: { name: limits, namespace: istio-system }
spec:
  limits:
    - { name: a-host, key: [host], to: [{ hosts: [site.example] }], requests: { count: 100, per: minute, burst: 10 } }
    - { name: b-post, key: [], to: [{ methods: [POST] }], bytes: { count: 1Mi, per: day, direction: egress }, mode: shadow }
    - { name: c-known, key: [principal], from: [{ principals: ['*'] }], requests: { count: 1, per: hour } }
    - { name: d-open, key: [host], tunnels: { count: 5 } }
`

function written(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'sallyport-explain-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  writeFileSync(join(dir, 'resources.yaml'), RESOURCES)
  const file = join(dir, 'gateway.yaml')
  writeFileSync(
    file,
    `apiVersion: sallyport.dev/v1\nkind: EgressGateway\nmetadata: { name: g, namespace: istio-system, labels: { istio: egressgateway } }\nspec: { resources: [resources.yaml] }\n`,
  )
  return file
}

async function asked(file: string, ...args: readonly string[]): Promise<string> {
  let text = ''
  const stream = { write: (more: string) => ((text += more), true) }
  await explain(['-f', file, ...args], { stdout: stream, stderr: stream } as unknown as Parameters<typeof explain>[1])
  return text
}

test('explain: which limits apply, what they say, and why the others do not', async (t) => {
  const file = written(t)
  const { limits } = JSON.parse(await asked(file, '-o', 'json', 'GET', 'http://site.example/x')) as Explanation
  assert.deepEqual(
    limits.map(({ limit, applies, why, key }) => [limit, applies, why, key]),
    [
      [
        'istio-system/limits/a-host',
        true,
        '100 requests per minute, at most 10 at once, for each host',
        'site.example',
      ],
      ['istio-system/limits/b-post', false, 'no `to` matches: method is "GET", which is not "POST"', null],
      ['istio-system/limits/c-known', false, 'no `from` matches: source.principal is absent', null],
      ['istio-system/limits/d-open', false, 'it counts tunnels and WebSockets', null],
    ],
  )
  const text = await asked(file, 'POST', 'http://site.example/x')
  assert.match(
    text,
    / {2}limit istio-system\/limits\/b-post APPLIES \(local, shadow\) {2}.*resources\.yaml:\d+:\d+\n {6}1048576 bytes to the outside per day, at most 1048576 at once, for all together\n/,
  )
  assert.match(text, / {2}limit istio-system\/limits\/a-host APPLIES \(local\) .*\n.*for each host: site\.example\n/)
})

test('explain: of a tunnel, by the host that its route leads to', async (t) => {
  const { limits } = JSON.parse(
    await asked(written(t), '-o', 'json', '--port', '9000', 'tcp://site.example:9000'),
  ) as Explanation
  assert.deepEqual(
    limits.map(({ applies, why, key }) => [applies, why, key]),
    [
      [true, '100 requests per minute, at most 10 at once, for each host', 'site.example'],
      [false, 'no `to` matches: method is absent on a tunnel', null],
      [false, 'no `from` matches: source.principal is absent', null],
      [true, '5 tunnels open at a time, for each host', 'site.example'],
    ],
  )
})

test('explain: what is refused before meets no limit', async (t) => {
  const answer = JSON.parse(await asked(written(t), '-o', 'json', 'GET', 'http://other.example/')) as Explanation
  assert.deepEqual([answer.allowed, answer.limits], [false, []])
})
