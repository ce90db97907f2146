/**
 * A whole gateway in front of one outside site, for tests that care about bytes: Gateway port 80 takes plaintext HTTP,
 * port 443 takes mTLS (ISTIO_MUTUAL), and `httpbin.org` is routed to the origin's port from both.
 */
import { rmSync } from 'node:fs'
import type { Socket } from 'node:net'
import type { TestContext } from 'node:test'
import type { TLSSocket } from 'node:tls'
import { eventually } from '../../src/testing/eventually.ts'
import { type Harness, startHarness } from '../../src/testing/harness.ts'
import { meshConnect, plainConnect } from '../../src/testing/mesh-client.ts'
import { createTestPki, type TestCertificate, type TestPki } from '../../src/testing/pki.ts'

export const HOST = 'httpbin.org'
export const CALLER = 'spiffe://cluster.local/ns/mytest/sa/sleep'

export type SiteOptions = {
  /** Further resource files, name → YAML. */
  readonly resources?: Readonly<Record<string, string>>
  /** Merged over the harness's default `spec`. */
  readonly spec?: Readonly<Record<string, unknown>>
}

export type Site = {
  readonly harness: Harness
  /** An mTLS connection as `mytest/sleep`. */
  mesh(): Promise<TLSSocket>
  /** A plaintext connection: a caller without identity. */
  plain(): Promise<Socket>
  /** Value of a metric: the sum over all series of that name whose labels contain `labels`. */
  metric(name: string, labels?: string): Promise<number>
  /** Waits until no request and no connection is open on either side. */
  quiet(): Promise<void>
}

const RESOURCES = `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: egress, namespace: istio-system }
spec:
  selector: { istio: egressgateway }
  servers:
    - { port: { number: 80, name: http, protocol: HTTP }, hosts: ['*'] }
    - { port: { number: 443, name: https, protocol: HTTPS }, tls: { mode: ISTIO_MUTUAL }, hosts: ['*'] }
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: httpbin, namespace: istio-system }
spec:
  hosts: [${HOST}]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{ number: 80, name: http, protocol: HTTP }]
  endpoints: [{ address: 127.0.0.1, ports: { http: ORIGIN_PORT } }]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: httpbin, namespace: istio-system }
spec:
  hosts: [${HOST}]
  gateways: [istio-system/egress]
  http: [{ route: [{ destination: { host: ${HOST}, port: { number: 80 } } }] }]
`

let minted: Promise<{ readonly pki: TestPki; readonly svid: TestCertificate }> | null = null

async function mint(): Promise<{ readonly pki: TestPki; readonly svid: TestCertificate }> {
  const pki = await createTestPki()
  return { pki, svid: await pki.svid(CALLER) }
}

/** Starts the gateway; stop it with `site.harness.stop(lines)`. One mesh CA serves all sites of a test file. */
export async function startSite(t: TestContext, originPort: number, options: SiteOptions = {}): Promise<Site> {
  minted ??= mint()
  const { pki, svid } = await minted
  const harness = await startHarness({
    pki,
    resources: { 'site.yaml': RESOURCES.replaceAll('ORIGIN_PORT', String(originPort)), ...options.resources },
    ...(options.spec === undefined ? {} : { spec: options.spec }),
  })
  // A test that fails half way must not keep the process alive; rmSync for the same reason.
  t.after(async () => {
    if (harness.gateway.lifecycle.phase !== 'closed') await harness.gateway.destroy()
    rmSync(harness.paths.dir, { recursive: true, force: true })
  })
  const metricsText = async () => {
    const { port } = metricsEndpoint(harness)
    return (await fetch(`http://127.0.0.1:${port}/stats/prometheus`)).text()
  }
  const metric = async (name: string, labels = '') => sumOf(await metricsText(), name, labels)
  return {
    harness,
    mesh: () => meshConnect({ port: harness.gateway.port(443), svid, ca: pki.root }),
    plain: () => plainConnect(harness.gateway.port(80)),
    metric,
    quiet: async () => {
      await eventually('no request and no connection is open', async () => {
        const text = await metricsText()
        return GAUGES.every((name) => sumOf(text, name, '') === 0)
      })
    },
  }
}

const GAUGES = [
  'envoy_http_downstream_rq_active',
  'envoy_listener_downstream_cx_active',
  'envoy_cluster_upstream_rq_active',
  'sallyport_open_connections',
] as const

function metricsEndpoint(harness: Harness): { readonly port: number } {
  const endpoint = harness.gateway.control?.metrics
  if (endpoint === undefined) throw new Error('the metrics server is not up')
  return endpoint
}

/** @throws when no series has that name: a misspelt gauge would be 0 for ever */
function sumOf(text: string, name: string, labels: string): number {
  const series = text.split('\n').filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `))
  if (series.length === 0 && !text.includes(`# TYPE ${name} `)) throw new Error(`no metric ${name}`)
  return series
    .filter((line) => line.includes(labels))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0)
}
