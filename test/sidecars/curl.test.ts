/** curl in the place of application and sidecar: requests in mTLS by HTTP/1.1 and HTTP/2, and its own TLS, passed through. */
import { spawnSync } from 'node:child_process'
import { type Caller, contentOf, inMtls, type Row, type Seen } from '../scenarios/row.ts'
import { GATEWAY_NAME, missing, runClient, scratch, type WorkloadFiles, workloadFilesIn } from './program.ts'
import { runWalkThroughs } from './run.ts'
import { UNSPOKEN } from './unspoken.ts'

/** man curl, EXIT CODES: TLS handshake, nothing received, send and receive failures; of HTTP/2 streams: framing, partial, closed. */
const CUT: ReadonlySet<number | null> = new Set([35, 52, 55, 56, 16, 18, 92])
/** The server's certificate does not verify. */
const ANOTHER_CERTIFICATE = 60

function curl(protocol: 'HTTP/1.1' | 'HTTP/2'): Caller {
  return {
    name: `curl, ${protocol}`,
    protocol,
    // The name in the URL is the SNI and the name that is verified.
    sni: () => GATEWAY_NAME,
    unspoken: UNSPOKEN.curl[protocol],
    hurries: true,
    start: async ({ t, harness, siteCa }) => {
      const files = scratch(t)
      const svid = workloadFilesIn(files, harness)
      const [meshCa, ca] = [files.write('mesh-ca.pem', harness.pki.root), files.write('site-ca.pem', siteCa)]
      return async (row) => {
        const certificate = inMtls(row.hop) && row.from !== null ? await svid(row.from) : null
        const body = row.request?.body
        const { code, stdout, stderr } = await runClient('curl', [
          ...['-sS', '-i', '--connect-to', `::127.0.0.1:${harness.gateway.port(row.port)}`],
          ...version(row),
          ...trust(row, certificate, meshCa, ca),
          ...request(row, body === undefined ? null : files.write('body', body)),
          url(row),
        ])
        if (CUT.has(code)) return { kind: 'cut' }
        if (code === ANOTHER_CERTIFICATE) return { kind: 'another certificate' }
        if (code !== 0) throw new Error(`${row.name}: curl ended with ${code}: ${stderr}`)
        return answerOf(stdout)
      }
    },
  }

  function version({ hop }: Row): readonly string[] {
    if (protocol === 'HTTP/1.1') return ['--http1.1']
    return [hop === 'http' ? '--http2-prior-knowledge' : '--http2']
  }
}

function trust({ hop, sni }: Row, svid: WorkloadFiles | null, meshCa: string, siteCa: string): readonly string[] {
  if (hop === 'tls') return ['--cacert', siteCa]
  if (hop === 'http') return []
  // No certificate of the gateway names the site whose name the page's DestinationRule makes the SNI.
  const verify = sni === undefined ? ['--cacert', meshCa] : ['--insecure']
  return svid === null ? verify : [...verify, '--cert', svid.cert, '--key', svid.key]
}

function request({ host, hop, request: options = {} }: Row, bodyFile: string | null): readonly string[] {
  const { method = 'GET', headers = {} } = options
  return [
    ...(method === 'HEAD' ? ['--head'] : ['--request', method]),
    ...(hop === 'tls' ? [] : ['-H', `Host: ${host}`]),
    ...Object.entries(headers).flatMap(([name, value]) => ['-H', `${name}: ${value}`]),
    ...(bodyFile === null ? [] : ['-H', 'Expect:', '--data-binary', `@${bodyFile}`]),
  ]
}

/** Where it really goes says --connect-to. An address has no SNI. */
function url({ hop, host, sni, port, request: options = {} }: Row): string {
  const path = options.path ?? '/'
  if (contentOf(hop) === 'tls') return `https://${host === '' ? '127.0.0.1' : host}:443${path}`
  return hop === 'http' ? `http://${host}${path}` : `https://${sni ?? GATEWAY_NAME}:${port}${path}`
}

function answerOf(text: string): Seen {
  const end = text.indexOf('\r\n\r\n')
  const [status = '', ...fields] = text.slice(0, end).split('\r\n')
  const headers = fields.map((field) => [
    field.slice(0, field.indexOf(':')).toLowerCase(),
    field.slice(field.indexOf(':') + 1).trim(),
  ])
  return {
    kind: 'answer',
    status: Number(status.split(' ')[1]),
    headers: Object.fromEntries(headers) as Record<string, string>,
    body: text.slice(end + 4),
  }
}

const noCurl = missing('curl', ['--version'])
const features = noCurl === false ? spawnSync('curl', ['--version'], { encoding: 'utf8' }).stdout : ''
runWalkThroughs([
  { caller: curl('HTTP/1.1'), skip: noCurl },
  { caller: curl('HTTP/2'), skip: noCurl || (features.includes('HTTP2') ? false : 'this curl has no HTTP/2') },
])
