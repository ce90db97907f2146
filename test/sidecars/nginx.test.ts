/**
 * nginx as the sidecar: HTTP/1.1 and streams, in mTLS. It offers no ALPN, and its SNI is the name it verifies, so it names the
 * gateway itself.
 */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { converse, SIDECAR_ERROR } from '../scenarios/application.ts'
import { type Caller, contentOf, inMtls, type Way, wayKey } from '../scenarios/row.ts'
import {
  connectTo,
  GATEWAY_NAME,
  missing,
  type Scratch,
  scratch,
  startServer,
  type WorkloadFiles,
  workloadFilesIn,
} from './program.ts'
import { runWalkThroughs } from './run.ts'
import { UNSPOKEN } from './unspoken.ts'

/** Where Debian's libnginx-mod-stream puts it. */
const STREAM_MODULE = '/usr/lib/nginx/modules/ngx_stream_module.so'

const NGINX: Caller = {
  name: 'nginx',
  protocol: 'HTTP/1.1',
  sni: () => GATEWAY_NAME,
  unspoken: UNSPOKEN.nginx['HTTP/1.1'],
  start: async ({ t, harness, siteCa, ways }) => {
    const files = scratch(t)
    const svid = workloadFilesIn(files, harness)
    const ca = files.write('mesh-ca.pem', harness.pki.root)
    const ready = `${files.dir}/ready`
    const http: string[] = []
    const streams: string[] = []
    const entrances = new Map<string, string>()
    for (const [index, way] of ways.entries()) {
      const entrance = `${files.dir}/${index}`
      entrances.set(wayKey(way), entrance)
      const tls = inMtls(way.hop) ? mutualTls(way, way.from === null ? null : await svid(way.from), ca) : null
      const address = `127.0.0.1:${harness.gateway.port(way.port)}`
      if (contentOf(way.hop) === 'http') http.push(httpServer(entrance, address, tls))
      else streams.push(streamServer(entrance, address, tls))
    }
    streams.push(`server { listen unix:${ready}; return ready; }`)
    const file = files.write('nginx.conf', configuration(files, http, streams))
    await startServer(t, 'nginx', ['-p', files.dir, '-e', 'stderr', '-c', file], [...entrances.values()], ready)
    return (row) => converse(() => connectTo(entrances.get(wayKey(row)) ?? assert.fail(row.name)), row, siteCa)
  },
}

/** What nginx answers itself, because the gateway gave it no answer, says so; the gateway's own answers pass. */
function httpServer(entrance: string, address: string, tls: string | null): string {
  return `server {
  listen unix:${entrance};
  ${tls ?? ''}
  location / {
    proxy_pass ${tls === null ? 'http' : 'https'}://${address};
    proxy_http_version 1.1;
    proxy_set_header Host $http_host;
    proxy_set_header Connection "";
    error_page 502 504 = @own;
  }
  location @own {
    add_header ${SIDECAR_ERROR} $status always;
    return 502;
  }
}`
}

function streamServer(entrance: string, address: string, tls: string | null): string {
  return `server {
  listen unix:${entrance};
  ${tls === null ? '' : `${tls}\n  proxy_ssl on;`}
  proxy_pass ${address};
}`
}

/** In the foreground, in one process, every file in `dir`. */
function configuration({ dir }: Scratch, http: readonly string[], streams: readonly string[]): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
  return `load_module ${STREAM_MODULE};
daemon off;
master_process off;
pid ${dir}/nginx.pid;
error_log stderr crit;
events {}
http {
access_log off;
client_max_body_size 0;
${temporary.map((name) => `${name}_temp_path ${dir}/${name};`).join('\n')}
${http.join('\n')}
}
stream {
${streams.join('\n')}
}
`
}

function mutualTls({ sni }: Way, svid: WorkloadFiles | null, ca: string): string {
  return [
    ...(svid === null ? [] : [`proxy_ssl_certificate ${svid.cert};`, `proxy_ssl_certificate_key ${svid.key};`]),
    // No certificate of the gateway names the site whose name the page's DestinationRule makes the SNI.
    ...(sni === undefined ? [`proxy_ssl_trusted_certificate ${ca};`, 'proxy_ssl_verify on;'] : []),
    'proxy_ssl_verify_depth 3;',
    'proxy_ssl_server_name on;',
    `proxy_ssl_name ${sni ?? GATEWAY_NAME};`,
    'proxy_ssl_session_reuse off;',
  ].join('\n  ')
}

const skip =
  missing('nginx', ['-v']) || (existsSync(STREAM_MODULE) ? false : 'the stream module of nginx is not installed')
runWalkThroughs([{ caller: NGINX, skip }])
