/** meshConfig.extensionProviders: what is read, and what Istio's validation and we refuse. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { readBootstrap } from './bootstrap.ts'
import { formatDiagnostic } from './diagnostics.ts'
import { collectDiagnostics } from './report.ts'

function read(extensionProviders: unknown) {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-providers-'))
  const file = join(directory, 'gateway.yaml')
  writeFileSync(
    file,
    JSON.stringify({
      apiVersion: 'sallyport.dev/v1',
      kind: 'EgressGateway',
      metadata: { name: 'g', namespace: 'istio-system' },
      spec: { meshConfig: { extensionProviders } },
    }),
  )
  const { report, sorted } = collectDiagnostics()
  const { settings } = readBootstrap(file, { display: () => 'gateway.yaml' }, report)
  rmSync(directory, { recursive: true })
  return { providers: settings?.mesh.extensionProviders ?? null, findings: sorted().map(formatDiagnostic) }
}

const http = (more: object) => [{ name: 'a', envoyExtAuthzHttp: { service: 'opa.example', port: 80, ...more } }]

test('an HTTP authorizer: defaults', () => {
  const { providers, findings } = read(http({}))
  assert.deepEqual(findings, [])
  const [first] = providers ?? []
  const { source, ...provider } = first ?? assert.fail()
  assert.equal(source.file, 'gateway.yaml')
  assert.deepEqual(provider, {
    name: 'a',
    type: 'envoyExtAuthzHttp',
    service: { namespace: null, host: 'opa.example', port: 80 },
    timeoutMs: 10_000,
    failOpen: false,
    statusOnError: 403,
    body: null,
    pathPrefix: '',
    headersInCheck: [],
    additionalHeadersInCheck: [],
    headersToUpstreamOnAllow: [],
    headersToDownstreamOnDeny: [],
    headersToDownstreamOnAllow: [],
  })
})

test('both kinds with everything', () => {
  const common = {
    service: 'policy/OPA.example.',
    port: '9191',
    timeout: '1.5s',
    failOpen: true,
    statusOnError: '503',
    clearRouteCache: true,
    includeRequestBodyInCheck: { maxRequestBytes: 10, allowPartialMessage: true, packAsBytes: true },
  }
  const { providers, findings } = read([
    {
      name: 'h',
      envoyExtAuthzHttp: {
        ...common,
        pathPrefix: '/check',
        includeHeadersInCheck: ['Old'],
        includeRequestHeadersInCheck: ['X-A*', '*-B'],
        includeAdditionalHeadersInCheck: { 'X-Add': 'v' },
        headersToUpstreamOnAllow: ['X-Up'],
        headersToDownstreamOnDeny: ['X-Deny'],
        headersToDownstreamOnAllow: ['X-Allow'],
      },
    },
    { name: 'g', envoyExtAuthzGrpc: common },
  ])
  assert.deepEqual(findings, [])
  const shared = {
    service: { namespace: 'policy', host: 'opa.example', port: 9191 },
    timeoutMs: 1500,
    failOpen: true,
    statusOnError: 503,
    body: { maxBytes: 10, allowPartial: true, packAsBytes: true },
  }
  const plain = (providers ?? []).map((provider) => ({ ...provider, source: undefined }))
  assert.deepEqual(plain, [
    {
      name: 'h',
      source: undefined,
      ...shared,
      type: 'envoyExtAuthzHttp',
      pathPrefix: '/check',
      headersInCheck: ['old', 'x-a*', '*-b'],
      additionalHeadersInCheck: [['x-add', 'v']],
      headersToUpstreamOnAllow: ['x-up'],
      headersToDownstreamOnDeny: ['x-deny'],
      headersToDownstreamOnAllow: ['x-allow'],
    },
    { name: 'g', source: undefined, ...shared, type: 'envoyExtAuthzGrpc' },
  ])
})

const REFUSED: readonly (readonly [what: string, providers: unknown, says: RegExp])[] = [
  ['without a name', [{ envoyExtAuthzHttp: { service: 'a.b', port: 80 } }], /SP1033 .*\.name is required/],
  ['without a provider', [{ name: 'a' }], /SP8300 .* has no provider/],
  [
    'two providers in one',
    [{ ...http({})[0], envoyExtAuthzGrpc: { service: 'a.b', port: 80 } }],
    /SP8300 .* has envoyExtAuthzHttp and envoyExtAuthzGrpc/,
  ],
  ['a name twice', [...http({}), ...http({})], /SP8300 there are two extension providers a/],
  ['a type that nobody knows', [{ name: 'a', skywalking: {} }], /SP1030 unknown key "skywalking"/],
  ['a misspelt field', http({ failopen: true }), /SP1030 .*did you mean failOpen\?/],
  ['no service', [{ name: 'a', envoyExtAuthzGrpc: { port: 80 } }], /SP1033 .*service is required/],
  ['no port', [{ name: 'a', envoyExtAuthzGrpc: { service: 'a.b' } }], /SP1033 .*port is required/],
  ['port 0', http({ port: 0 }), /SP1000 .*port: must be at least 1/],
  ['a port in the service', http({ service: 'opa.example:80' }), /SP8301 service "opa\.example:80" is no host name/],
  ['a URL', http({ service: 'http://opa' }), /SP8301 /],
  ['a namespace that is none', http({ service: 'A_b/opa' }), /SP8301 .* names no namespace/],
  ['a metadata address', http({ service: '169.254.169.254' }), /SP8301 .* is a metadata address/],
  ['a metadata address as IPv6', http({ service: 'fd00:ec2::254' }), /SP8301 .* is a metadata address/],
  ['a timeout of nothing', http({ timeout: '0s' }), /SP1000 .*timeout: must be at least 1ms/],
  ['a timeout that no timer holds', http({ timeout: '700h' }), /SP1000 .*timeout: must be at most 596h/],
  ['a status that is none', http({ statusOnError: '99' }), /SP1000 .*statusOnError: must be at least 200/],
  ['a body of nothing', http({ includeRequestBodyInCheck: { maxRequestBytes: 0 } }), /SP1000 .*maxRequestBytes/],
  ['a body without a limit', http({ includeRequestBodyInCheck: {} }), /SP1033 .*maxRequestBytes is required/],
  ['a prefix that is no path', http({ pathPrefix: 'check' }), /SP8301 pathPrefix "check" is no path/],
  ['a prefix with a query', http({ pathPrefix: '/check?a=b' }), /SP8301 pathPrefix/],
  ['a prefix with a line end', http({ pathPrefix: '/check\r\nx: y' }), /SP8301 pathPrefix/],
  ['all headers', http({ includeRequestHeadersInCheck: ['*'] }), /SP1000 .*must be a header name/],
  ['a star inside', http({ headersToUpstreamOnAllow: ['x-*-y'] }), /SP1000 .*must be a header name/],
  [
    'a header that frames',
    http({ includeAdditionalHeadersInCheck: { 'Content-Length': '0' } }),
    /SP8301 "Content-Length"/,
  ],
  [
    'a value with a line end',
    http({ includeAdditionalHeadersInCheck: { 'x-a': 'b\r\nc: d' } }),
    /SP8301 the value of x-a/,
  ],
]

for (const [what, providers, says] of REFUSED)
  test(`refused: ${what}`, () => {
    const loaded = read(providers)
    assert.equal(loaded.providers, null)
    assert.match(loaded.findings.join('\n'), says)
  })

test('clearRouteCache: false is told to change nothing', () => {
  const { providers, findings } = read(http({ clearRouteCache: false }))
  assert.equal(providers?.length, 1)
  assert.match(findings.join(), /warning SP8304 /)
})
