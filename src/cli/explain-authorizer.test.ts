/** What `explain` says where a CUSTOM policy wants the authorizer asked: it names it, and asks nobody. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { explain } from './explain.ts'

const RESOURCES = (provider: string) => `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: egress, namespace: istio-system }
spec:
  selector: { istio: egressgateway }
  servers:
    - { port: { number: 80, name: http, protocol: HTTP }, hosts: ["*"] }
    - { port: { number: 9000, name: raw, protocol: TCP }, hosts: ["*"] }
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: site, namespace: istio-system }
spec:
  hosts: [site.example]
  resolution: DNS
  ports: [{ number: 80, name: http, protocol: HTTP }, { number: 9000, name: raw, protocol: TCP }]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: site, namespace: istio-system }
spec:
  hosts: [site.example]
  gateways: [egress]
  http: [{ route: [{ destination: { host: site.example, port: { number: 80 } } }] }]
  tcp: [{ match: [{ port: 9000 }], route: [{ destination: { host: site.example, port: { number: 9000 } } }] }]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: ask, namespace: istio-system }
spec:
  action: CUSTOM
  provider: { name: ${provider} }
  rules: [{ to: [{ operation: { paths: ["/admin*"] } }] }]
`

const BOOTSTRAP = `
apiVersion: sallyport.dev/v1
kind: EgressGateway
metadata: { name: g, namespace: istio-system, labels: { istio: egressgateway } }
spec:
  resources: [resources.yaml]
  meshConfig:
    extensionProviders:
      - { name: opa, envoyExtAuthzHttp: { service: opa.policy.svc.cluster.local, port: 9191 } }
      - { name: grpc, envoyExtAuthzGrpc: { service: opa.policy.svc.cluster.local, port: 9191 } }
`

async function asked(t: TestContext, provider: string, ...question: readonly string[]) {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-explain-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  mkdirSync(directory, { recursive: true })
  const file = join(directory, 'gateway.yaml')
  writeFileSync(file, BOOTSTRAP)
  writeFileSync(join(directory, 'resources.yaml'), RESOURCES(provider))
  let text = ''
  const code = await explain(['-f', file, ...question], {
    stdout: { write: (more: string) => (text += more) },
    stderr: { write: (more: string) => (text += more) },
  })
  return { code, text }
}

test('a rule that matches: the provider is named, and the rest is told as if it agreed', async (t) => {
  const { code, text } = await asked(t, 'opa', 'GET', 'http://site.example/admin/x')
  assert.equal(code, 0, text)
  assert.match(text, /policy istio-system\/ask CUSTOM/)
  assert.match(
    text,
    /would ask: opa \(envoyExtAuthzHttp\), for ns\[istio-system\]-policy\[ask\]-rule\[0\] at \S+resources\.yaml:\d+:\d+\n/,
  )
  assert.match(text, /→ allowed: .*, if the external authorizer opa lets it through\n/)
})

test('no rule matches: nobody would be asked', async (t) => {
  const { code, text } = await asked(t, 'opa', 'GET', 'http://site.example/')
  assert.equal(code, 0, text)
  assert.doesNotMatch(text, /would ask|external authorizer/)
})

test('a provider that nobody has defined refuses whatever is asked', async (t) => {
  const { code, text } = await asked(t, 'other', 'GET', 'http://site.example/')
  assert.equal(code, 1)
  assert.match(text, /→ refused: 403 ext_authz_denied, there is no provider other \[ext_authz_error\]/)
})

test('tunnels: refused where the authorizer speaks HTTP, told where it speaks gRPC', async (t) => {
  const http = await asked(t, 'opa', '--port', '9000', 'tcp://site.example:9000')
  assert.equal(http.code, 1)
  assert.match(http.text, /→ refused: ext_authz_denied, opa cannot be asked about tunnels/)
  const grpc = await asked(t, 'grpc', '--port', '9000', 'tcp://site.example:9000')
  assert.equal(grpc.code, 0, grpc.text)
  assert.match(grpc.text, /would ask: grpc \(envoyExtAuthzGrpc\)/)
})
