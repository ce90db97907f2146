/**
 * HAProxy as the sidecar: requests over HTTP/1.1 and HTTP/2, connections as TCP, all in mTLS with Istio's SNI and ALPN. The
 * name it verifies is the SNI it sends (`verifyhost` is for connections without one), where Istio's sidecars verify the
 * SPIFFE ID: so the gateway gets a certificate with those names too, as `sallyport certs issue --dns` makes it.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { GATEWAY_ID, type Harness } from '../../src/testing/harness.ts'
import { freePort } from '../integration/operator.ts'
import { outboundSni } from '../scenarios/application-tls.ts'
import { missing, type Scratch, scratch, startServer, type WorkloadFiles, workloadFiles } from './program.ts'
import { type SidecarPorts, type Sidecars, WORKLOADS, walkThrough000 } from './walk-through-000.ts'

const skip = missing('haproxy', ['-v'])

for (const [protocol, alpn] of [
  ['HTTP/1.1', 'istio-http/1.1,istio,http/1.1'],
  ['HTTP/2', 'istio-h2,istio,h2'],
] as const)
  test(`walk-through 000 behind HAProxy, ${protocol} to the gateway`, { skip }, async (t) => {
    const start = async (harness: Harness): Promise<Sidecars> => {
      const svid = await harness.pki.svid(GATEWAY_ID, { dns: [outboundSni(80), outboundSni(444)] })
      svid.writeTo(harness.paths.identity)
      assert.deepEqual((await harness.change({})).errors, [])
      const files = scratch(t)
      const ready = await freePort()
      const config = [HEAD, `listen ready\n  bind 127.0.0.1:${ready}\n  http-request return status 200\n`]
      const ports = new Map<string, SidecarPorts>()
      for (const workload of WORKLOADS) {
        const own = { http: await freePort(), https: await freePort() }
        ports.set(workload, own)
        config.push(await sidecar(harness, files, workload, own, alpn))
      }
      const file = files.write('haproxy.cfg', config.join('\n'))
      await startServer(t, 'haproxy', ['-db', '-f', file], ready)
      return Object.fromEntries(ports) as Sidecars
    }
    await walkThrough000(t, start, { protocol, sni: { 80: outboundSni(80), 444: outboundSni(444) } })
  })

const HEAD = `global
  log stderr format raw local0 err
defaults
  timeout connect 5s
  timeout client 30s
  timeout server 30s
  mode http
`

/** One workload's two listeners, and the gateway behind them. */
async function sidecar(
  harness: Harness,
  files: Scratch,
  workload: string,
  { http, https }: SidecarPorts,
  alpn: string,
): Promise<string> {
  const name = workload.replace('/', '-')
  const svid = await workloadFiles(files, harness, workload)
  return `listen ${name}-http
  bind 127.0.0.1:${http}
  server gateway 127.0.0.1:${harness.gateway.port(80)} ${tls(svid, outboundSni(80))} alpn ${alpn}
listen ${name}-https
  mode tcp
  bind 127.0.0.1:${https}
  server gateway 127.0.0.1:${harness.gateway.port(444)} ${tls(svid, outboundSni(444))} alpn istio-peer-exchange,istio
`
}

function tls({ both, ca }: WorkloadFiles, sni: string): string {
  return `ssl crt ${both} ca-file ${ca} verify required sni str(${sni})`
}
