/**
 * HAProxy as the sidecar: requests over HTTP/1.1 and HTTP/2, connections as TCP, in mTLS with Istio's SNI and ALPN. The name it
 * verifies is the SNI it sends (`verifyhost` is for connections without one), where Istio's sidecars verify the SPIFFE ID: so
 * the gateway gets a certificate with those names too, as `sallyport certs issue --dns` makes it.
 */
import assert from 'node:assert/strict'
import { GATEWAY_ID, type Harness } from '../../src/testing/harness.ts'
import { converse, SIDECAR_ERROR } from '../scenarios/application.ts'
import { outboundSni } from '../scenarios/application-tls.ts'
import { type Caller, contentOf, inMtls, type Way, wayKey } from '../scenarios/row.ts'
import { connectTo, missing, scratch, startServer, type WorkloadFiles, workloadFilesIn } from './program.ts'
import { runWalkThroughs } from './run.ts'
import { UNSPOKEN } from './unspoken.ts'

const HEAD = `global
  log stderr format raw local0 err
defaults
  timeout connect 5s
  timeout client 30s
  timeout server 30s
  retries 0
  mode http
${[502, 503, 504].map((status) => `  http-error status ${status} content-type text/plain hdr ${SIDECAR_ERROR} ${status}`).join('\n')}
`

const ALPN = {
  'HTTP/1.1': 'istio-http/1.1,istio,http/1.1',
  'HTTP/2': 'istio-h2,istio,h2',
  tunnel: 'istio-peer-exchange,istio',
} as const

function haproxy(protocol: 'HTTP/1.1' | 'HTTP/2'): Caller {
  return {
    name: `HAProxy, ${protocol}`,
    protocol,
    sni: outboundSni,
    unspoken: UNSPOKEN.HAProxy[protocol],
    start: async ({ t, harness, siteCa, ways }) => {
      await nameGateway(harness)
      const files = scratch(t)
      const svid = workloadFilesIn(files, harness)
      const ca = files.write('mesh-ca.pem', harness.pki.root)
      const ready = `${files.dir}/ready`
      const config = [HEAD]
      const entrances = new Map<string, string>()
      for (const [index, way] of ways.entries()) {
        const entrance = `${files.dir}/${index}`
        entrances.set(wayKey(way), entrance)
        const tls = inMtls(way.hop) ? ` ${mutualTls(way, way.from === null ? null : await svid(way.from), ca)}` : ''
        const mode = contentOf(way.hop) === 'http' ? 'http' : 'tcp'
        const speech = tls === '' ? (mode === 'http' && protocol === 'HTTP/2' ? ' proto h2' : '') : ` alpn ${alpn(way)}`
        const server = `127.0.0.1:${harness.gateway.port(way.port)}${tls}${speech}`
        config.push(`listen way${index}\n  mode ${mode}\n  bind unix@${entrance}\n  server gateway ${server}\n`)
      }
      config.push(`listen ready\n  bind unix@${ready}\n  http-request return status 200\n`)
      const file = files.write('haproxy.cfg', config.join('\n'))
      await startServer(t, 'haproxy', ['-db', '-f', file], [...entrances.values()], ready)
      return (row) => converse(() => connectTo(entrances.get(wayKey(row)) ?? assert.fail(row.name)), row, siteCa)
    },
  }

  function alpn({ hop }: Way): string {
    return ALPN[contentOf(hop) === 'http' ? protocol : 'tunnel']
  }
}

/** The names that HAProxy sends and verifies. They are the gateway's own: a name of a site would not be (test/scenarios/README.md). */
async function nameGateway(harness: Harness): Promise<void> {
  const svid = await harness.pki.svid(GATEWAY_ID, { dns: [80, 443, 444].map(outboundSni) })
  svid.writeTo(harness.paths.identity)
  assert.deepEqual((await harness.change({})).errors, [])
}

function mutualTls({ port, sni }: Way, svid: WorkloadFiles | null, ca: string): string {
  const certificate = svid === null ? '' : ` crt ${svid.both}`
  // No certificate of the gateway names the site whose name the page's DestinationRule makes the SNI.
  const verify = sni === undefined ? `verify required ca-file ${ca}` : 'verify none'
  return `ssl${certificate} ${verify} sni str(${sni ?? outboundSni(port)})`
}

const skip = missing('haproxy', ['-v'])
runWalkThroughs([
  { caller: haproxy('HTTP/1.1'), skip },
  { caller: haproxy('HTTP/2'), skip },
])
