/**
 * `sallyport explain` and the running gateway give the same decision: every case goes over a real connection and
 * through the command, and status, reason, policy, route and cluster must be equal (contract §1).
 */
import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { explain } from '../../src/cli/explain.ts'
import type { Explanation } from '../../src/cli/explain-parts.ts'
import { type Harness, type LogLine, startHarness } from '../../src/testing/harness.ts'
import { meshConnect, plainConnect, request } from '../../src/testing/mesh-client.ts'
import { type EchoOrigin, startEchoOrigin } from '../../src/testing/origin.ts'
import { createTestPki, type TestCertificate, type TestPki } from '../../src/testing/pki.ts'

type Case = {
  readonly name: string
  /** Gateway port: 80 egress policies, 443 mTLS, 444 two TLS servers, 8081 plaintext, 9999 nobody's. */
  readonly port?: number
  /** null: no certificate. */
  readonly from?: string | null
  readonly method?: string
  readonly url: string
  readonly headers?: Readonly<Record<string, string>>
  readonly sni?: string
  /** What both must say: the status (0: closed before an answer), and the reason. */
  readonly expect: readonly [status: number, reason: string | null]
}

const SLEEP = 'spiffe://cluster.local/ns/mytest/sa/sleep'
const OTHER = 'spiffe://cluster.local/ns/other/sa/sleep'
const PINNED = 'spiffe://cluster.local/ns/pinned/sa/one'

const EGRESS = `
apiVersion: istio.alibabacloud.com/v1
kind: ASMEgressTrafficPolicy
metadata: { name: egress-by-egressgateway, namespace: istio-egress }
spec:
  byEgressGateway: { name: egressgateway }
  egressRules:
    - from: [{ namespace: mytest }]
      to:
        - { name: bin, hosts: [bin.test], port: { name: http, number: 80, protocol: HTTP }, byEgressGateway: { port: 80 } }
        - { name: wild, hosts: ["*.wild.test"], port: { name: http, number: 80, protocol: HTTP }, byEgressGateway: { port: 80 } }
        - { name: tls, hosts: [tls.test], port: { name: https, number: 443, protocol: HTTPS }, byEgressGateway: { port: 80 } }
    - from: [{ namespace: other, workloadSelector: { app: chosen } }]
      to:
        - { name: chosen, hosts: [chosen.test], port: { name: http, number: 80, protocol: HTTP }, byEgressGateway: { port: 80 } }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: chosen, namespace: other }
spec:
  template: { metadata: { labels: { app: chosen } }, spec: { serviceAccountName: chosen } }
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: outside, namespace: istio-system }
spec:
  hosts: [bin.test, chosen.test, vs.test, registered.test, a.wild.test]
  ports: [{ number: 80, name: http, protocol: HTTP, targetPort: PORT_HTTP }]
  resolution: STATIC
  endpoints: [{ address: 127.0.0.1 }]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: metadata-server, namespace: istio-system }
spec:
  hosts: [metadata.test]
  ports: [{ number: 80, name: http, protocol: HTTP }]
  resolution: STATIC
  endpoints: [{ address: 169.254.169.254 }]
`

const GATEWAYS = `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: gw, namespace: istio-system }
spec:
  selector: { istio: egressgateway }
  servers:
    - { hosts: ["*"], port: { number: 443, name: mesh, protocol: HTTPS }, tls: { mode: ISTIO_MUTUAL } }
    - { hosts: [simple.test], port: { number: 444, name: simple, protocol: HTTPS }, tls: { mode: SIMPLE, credentialName: simple } }
    - hosts: ["*.pinned.test"]
      port: { number: 444, name: pinned, protocol: HTTPS }
      tls: { mode: ISTIO_MUTUAL, subjectAltNames: ["${PINNED}"] }
    - { hosts: [vs.test, simple.test], port: { number: 8081, name: plain, protocol: HTTP } }
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: vs, namespace: istio-system }
spec:
  hosts: [vs.test, simple.test, "*.pinned.test"]
  gateways: [gw]
  http:
    - { name: moved, match: [{ uri: { exact: /old } }], redirect: { uri: /new, redirectCode: 308 } }
    - { name: teapot, match: [{ uri: { prefix: /teapot } }], directResponse: { status: 418, body: { string: short } } }
    - { name: blocked, match: [{ uri: { prefix: /fault } }], fault: { abort: { httpStatus: 451, percentage: { value: 100 } } }, route: [{ destination: { host: vs.test } }] }
    - name: shared
      match: [{ uri: { prefix: /shared } }]
      corsPolicy: { allowOrigins: [{ exact: "https://a.test" }], unmatchedPreflights: IGNORE }
      route: [{ destination: { host: nowhere.test, port: { number: 80 } } }]
    - { name: cut, match: [{ uri: { prefix: /a } }], rewrite: { uri: / }, route: [{ destination: { host: vs.test, port: { number: 80 } } }] }
    - { name: unknown, match: [{ uri: { prefix: /unknown } }], route: [{ destination: { host: nowhere.test, port: { number: 80 } } }] }
    - { name: metadata, match: [{ uri: { prefix: /metadata } }], route: [{ destination: { host: metadata.test, port: { number: 80 } } }] }
    - name: team
      match: [{ name: blue, headers: { x-team: { exact: blue } }, uri: { regex: "/v[0-9]+/.*" } }]
      route: [{ destination: { host: vs.test, port: { number: 80 } } }]
    - { name: page, match: [{ uri: { exact: / } }], route: [{ destination: { host: vs.test, port: { number: 80 } } }] }
`

const policy = (name: string, spec: string) => `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: ${name}, namespace: istio-system }
spec: ${spec}
`
const POLICIES = [
  policy('allow', `{ rules: [{ to: [{ operation: { notPaths: ["/closed*"] } }] }] }`),
  policy(
    'deny',
    `{ action: DENY, rules: [
      { from: [{ source: { namespaces: [mytest] } }], to: [{ operation: { hosts: [bin.test], methods: [POST] } }] },
      { to: [{ operation: { paths: ["/admin/{*}"] } }] },
      { when: [{ key: "request.headers[x-bad]", values: ["yes"] }] },
      { to: [{ operation: { paths: [/known-only] } }], from: [{ source: { notPrincipals: ["*"] } }] },
      { to: [{ operation: { paths: [/sidecars-only] } }], when: [{ key: connection.sni, values: ["outbound_*"] }] },
      { to: [{ operation: { paths: [/elsewhere] } }], from: [{ source: { ipBlocks: ["127.0.0.0/8"] } }] } ] }`,
  ),
  policy('other-labels', `{ action: DENY, selector: { matchLabels: { istio: another } }, rules: [{}] }`),
].join('---')

const DENIED = [403, 'rbac_denied'] as const
const UNLISTED = [502, 'caller_not_listed'] as const

const CASES: readonly Case[] = [
  { name: 'granted', url: 'http://bin.test/', expect: [200, null] },
  { name: 'granted, in other spellings', url: 'http://BIN.test.:80/x/../', expect: [200, null] },
  { name: 'a caller in no from', from: OTHER, url: 'http://bin.test/', expect: UNLISTED },
  { name: 'DENY before from', from: SLEEP, method: 'POST', url: 'http://bin.test/', expect: DENIED },
  { name: 'DENY by host looks through the port', method: 'POST', url: 'http://bin.test:8080/', expect: DENIED },
  { name: 'DENY for mytest only: then from', from: OTHER, method: 'POST', url: 'http://bin.test/', expect: UNLISTED },
  { name: 'no ALLOW matches', url: 'http://bin.test/closed', expect: DENIED },
  { name: '403 before 502', url: 'http://nowhere.test/closed', expect: DENIED },
  { name: 'path template', url: 'http://bin.test/admin/x', expect: DENIED },
  { name: 'path template, two segments', url: 'http://bin.test/admin/x/y', expect: [200, null] },
  { name: 'dot segments do not hide a path', url: 'http://bin.test/x/../admin/x', expect: DENIED },
  { name: 'an escape does not hide a path', url: 'http://bin.test/%61dmin/x', expect: DENIED },
  { name: 'DENY by header', url: 'http://bin.test/', headers: { 'x-bad': 'yes' }, expect: DENIED },
  { name: 'DENY by header in a list', url: 'http://bin.test/', headers: { 'x-bad': 'no, yes' }, expect: DENIED },
  { name: 'DENY by address', url: 'http://bin.test/elsewhere', expect: DENIED },
  { name: 'DENY by the SNI of sidecars', url: 'http://bin.test/sidecars-only', expect: DENIED },
  { name: 'an identity escapes notPrincipals', url: 'http://bin.test/known-only', expect: [200, null] },
  { name: 'unregistered', url: 'http://nowhere.test/', expect: [502, 'not_registered'] },
  { name: 'registered, no route here', url: 'http://registered.test/', expect: [404, 'no_route'] },
  { name: 'a tunnel host over HTTP', url: 'http://tls.test/', expect: [502, 'not_registered'] },
  { name: 'wildcard grant, listed caller', from: OTHER, url: 'http://a.wild.test/', expect: UNLISTED },
  { name: 'the suffix itself is not covered', url: 'http://wild.test/', expect: [502, 'not_registered'] },
  {
    name: 'workloadSelector holds',
    from: `${OTHER.slice(0, -5)}chosen`,
    url: 'http://chosen.test/',
    expect: [200, null],
  },
  { name: 'workloadSelector holds not', from: OTHER, url: 'http://chosen.test/', expect: UNLISTED },
  { name: 'an SVID of another form', from: 'spiffe://cluster.local/host/x', url: 'http://bin.test/', expect: UNLISTED },
  {
    name: 'a foreign trust domain',
    from: 'spiffe://evil.test/ns/mytest/sa/sleep',
    url: 'http://bin.test/',
    expect: [0, 'foreign_trust_domain'],
  },
  { name: 'no certificate', from: null, url: 'http://bin.test/', expect: [0, 'no_client_certificate'] },
  { name: 'a port nobody speaks for', port: 9999, url: 'http://bin.test/', expect: [502, 'not_registered'] },
  { name: 'absolute nonsense as host', url: 'http://127.1/', expect: [400, 'bad_request'] },
  { name: 'TRACE', method: 'TRACE', url: 'http://bin.test/', expect: [405, 'bad_request'] },
  { name: 'broken escape', url: 'http://bin.test/%zz', expect: [400, 'bad_request'] },
  { name: 'VirtualService', port: 443, url: 'http://vs.test/', expect: [200, null] },
  { name: 'VirtualService, no rule matches', port: 443, url: 'http://vs.test/none', expect: [404, 'no_route'] },
  {
    name: 'header and regex',
    port: 443,
    url: 'http://vs.test/v1/x',
    headers: { 'x-team': 'blue' },
    expect: [200, null],
  },
  {
    name: 'header and regex, wrong value',
    port: 443,
    url: 'http://vs.test/v1/x',
    headers: { 'x-team': 'red' },
    expect: [404, 'no_route'],
  },
  { name: 'redirect', port: 443, url: 'http://vs.test/old', expect: [308, null] },
  { name: 'direct response', port: 443, url: 'http://vs.test/teapot/x', expect: [418, null] },
  { name: 'abort', port: 443, url: 'http://vs.test/fault', expect: [451, null] },
  {
    name: 'a preflight is answered although there is no cluster',
    port: 443,
    method: 'OPTIONS',
    url: 'http://vs.test/shared',
    headers: { origin: 'https://b.test', 'access-control-request-method': 'PUT' },
    expect: [200, null],
  },
  { name: 'a rewrite to a path nobody judged', port: 443, url: 'http://vs.test/a../x', expect: [400, 'bad_request'] },
  { name: 'unknown cluster', port: 443, url: 'http://vs.test/unknown', expect: [503, null] },
  { name: 'a forbidden STATIC address', port: 443, url: 'http://vs.test/metadata', expect: [403, 'address_denied'] },
  { name: 'a granted host on another port', port: 443, url: 'http://bin.test/', expect: [404, 'no_route'] },
  { name: 'plaintext', port: 8081, from: null, url: 'http://vs.test/', expect: [200, null] },
  { name: 'plaintext has no identity', port: 8081, from: null, url: 'http://vs.test/known-only', expect: DENIED },
  { name: 'TLS to a plaintext port', port: 8081, url: 'http://vs.test/', expect: [0, 'protocol_mismatch'] },
  { name: 'SIMPLE', port: 444, from: null, sni: 'simple.test', url: 'https://simple.test/', expect: [200, null] },
  {
    name: 'SIMPLE proves nothing',
    port: 444,
    sni: 'simple.test',
    url: 'https://simple.test/known-only',
    expect: DENIED,
  },
  {
    name: 'SIMPLE, another Host',
    port: 444,
    from: null,
    sni: 'simple.test',
    url: 'https://vs.test/',
    expect: [421, 'misdirected'],
  },
  {
    name: 'no server for the SNI',
    port: 444,
    sni: 'nobody.test',
    url: 'https://vs.test/',
    expect: [0, 'no_server_for_sni'],
  },
  {
    name: 'a pinned caller',
    port: 444,
    from: PINNED,
    sni: 'x.pinned.test',
    url: 'https://x.pinned.test/',
    expect: [200, null],
  },
  {
    name: 'a caller that is not pinned',
    port: 444,
    sni: 'x.pinned.test',
    url: 'https://x.pinned.test/',
    expect: [0, 'untrusted_certificate'],
  },
]

const ALLOW_ANY_CASES: readonly Case[] = [
  { name: 'from holds in ALLOW_ANY', from: OTHER, url: 'http://bin.test/', expect: UNLISTED },
  { name: 'a tunnel host over HTTP in ALLOW_ANY', url: 'http://tls.test/', expect: [502, 'not_registered'] },
  { name: 'registered, no route', url: 'http://registered.test/', expect: [404, 'no_route'] },
  { name: 'an address of the machine', url: 'http://169.254.169.254/', expect: [403, 'address_denied'] },
  { name: 'a private address', port: 9999, url: 'http://10.0.0.1:8080/', expect: [403, 'address_denied'] },
  { name: 'DENY first', url: 'http://169.254.169.254/closed', expect: DENIED },
]

describe('explain says what the gateway does', () => {
  let pki: TestPki
  let outside: EchoOrigin
  before(async () => {
    pki = await createTestPki()
    outside = await startEchoOrigin()
  })
  after(() => outside.close())

  for (const [mode, cases] of [
    ['REGISTRY_ONLY', CASES],
    ['ALLOW_ANY', ALLOW_ANY_CASES],
  ] as const)
    describe(mode, () => {
      let harness: Harness
      let seen = 0
      before(async () => {
        harness = await startHarness({
          pki,
          resources: {},
          spec: {
            ports: { 80: 0, 443: 0, 444: 0, 8081: 0, 9999: 0 },
            meshConfig: { outboundTrafficPolicy: { mode } },
          },
          metadata: { labels: { istio: 'egressgateway', app: 'egressgateway' } },
        })
        const simple = await pki.serverCert('simple.test')
        const directory = join(harness.paths.dir, 'secrets', 'simple')
        mkdirSync(directory, { recursive: true })
        simple.writeTo(directory)
        const resources = { 'egress.yaml': EGRESS, 'gateways.yaml': GATEWAYS, 'policies.yaml': POLICIES }
        const text = (yaml: string) =>
          yaml
            .replaceAll('PORT_HTTP', String(outside.port))
            .replaceAll(
              'credentialName: simple',
              `serverCertificate: ${directory}/cert-chain.pem, privateKey: ${directory}/key.pem`,
            )
        const result = await harness.change(
          Object.fromEntries(Object.entries(resources).map(([file, yaml]) => [file, text(yaml)])),
        )
        assert.deepEqual(result.ok ? [] : result.errors, [])
      })
      after(() => harness.stop(cases.length))

      for (const each of cases)
        test(each.name, async () => {
          const explanation = await ask(harness, each)
          const { status, reason } = await carry(harness, pki, each)
          seen += 1
          const line = (await harness.lines(seen)).at(-1) as LogLine
          assert.deepEqual([status, reason], each.expect, 'the gateway')
          assert.deepEqual(
            [explanation.status ?? (explanation.allowed ? 200 : 0), explanation.reason],
            each.expect,
            'explain',
          )
          assert.equal(explanation.allowed, reason === null && status !== 503)
          if (status === 0) return
          assert.equal(explanation.decidedBy?.split(' at ')[0] ?? null, line['authz_policy'] ?? null)
          assert.equal(explanation.routeName, line['route_name'] ?? null)
          // An answer of the route's own has no upstream.
          if (reason === null && ![418, 308].includes(status))
            assert.equal(explanation.cluster, line['upstream_cluster'])
        })
    })
})

/** Through the command, as an operator asks. */
async function ask(harness: Harness, question: Case): Promise<Explanation> {
  const { from = SLEEP, port = 80, method = 'GET', url, headers = {}, sni } = question
  let text = ''
  const argv = ['-f', harness.configFile, '-o', 'json', '--port', String(port)]
  if (from !== null) argv.push('--from', from)
  if (sni !== undefined) argv.push('--sni', sni)
  for (const [name, value] of Object.entries(headers)) argv.push('-H', `${name}: ${value}`)
  const code = await explain([...argv, method, url], {
    stdout: { write: (part) => (text += part) },
    stderr: process.stderr,
  })
  const explanation = JSON.parse(text) as Explanation
  assert.equal(code, explanation.allowed ? 0 : 1)
  return explanation
}

/** Over a connection of its own. Status 0: closed without an answer; then the reason is that of the access log. */
async function carry(
  harness: Harness,
  pki: TestPki,
  { from = SLEEP, port = 80, method = 'GET', url, headers = {}, sni }: Case,
): Promise<{ status: number; reason: string | null }> {
  const [, host = '', path = ''] = /^https?:\/\/([^/]*)(.*)$/.exec(url) ?? []
  const before = (await harness.lines(0)).length
  try {
    const certificate = from === null ? null : await svidOf(pki, from)
    const socket =
      port === 8081 && from === null
        ? await plainConnect(harness.gateway.port(port))
        : await meshConnect({
            port: harness.gateway.port(port),
            svid: certificate,
            ca: pki.root,
            servername: sni ?? `outbound_.${port}_._.istio-egressgateway.istio-system.svc.cluster.local`,
            ...(sni === undefined ? {} : { alpn: ['http/1.1'] }),
          })
    try {
      const answer = await request(socket, host, { method, path, headers })
      const reason = answer.headers['x-sallyport-reason']
      return { status: answer.status, reason: typeof reason === 'string' ? reason : null }
    } finally {
      socket.destroy()
    }
  } catch {
    const line = (await harness.lines(before + 1)).at(-1) as LogLine
    return { status: line['response_code'] as number, reason: line['reason'] as string | null }
  }
}

const svids = new Map<string, Promise<TestCertificate>>()
function svidOf(pki: TestPki, id: string): Promise<TestCertificate> {
  const known = svids.get(id) ?? pki.svid(id)
  svids.set(id, known)
  return known
}
