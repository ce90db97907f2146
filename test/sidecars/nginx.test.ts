/**
 * nginx as the sidecar: HTTP/1.1 and streams in mTLS. It offers no ALPN, and its SNI is the name it verifies, so it names
 * the gateway itself.
 */
import { existsSync } from 'node:fs'
import { test } from 'node:test'
import type { Harness } from '../../src/testing/harness.ts'
import { freePort } from '../integration/operator.ts'
import { missing, type Scratch, scratch, startServer, workloadFiles } from './program.ts'
import { type SidecarPorts, type Sidecars, WORKLOADS, walkThrough000 } from './walk-through-000.ts'

const GATEWAY_NAME = 'istio-egressgateway.istio-system.svc.cluster.local'

/** Where Debian's libnginx-mod-stream puts it. */
const STREAM_MODULE = '/usr/lib/nginx/modules/ngx_stream_module.so'

const skip =
  missing('nginx', ['-v']) || (existsSync(STREAM_MODULE) ? false : 'the stream module of nginx is not installed')

test('walk-through 000 behind nginx', { skip }, async (t) => {
  const start = async (harness: Harness): Promise<Sidecars> => {
    const files = scratch(t)
    const ready = await freePort()
    const ports = new Map<string, SidecarPorts>()
    const http = [`server { listen 127.0.0.1:${ready}; return 204; }`]
    const streams: string[] = []
    for (const workload of WORKLOADS) {
      const own = { http: await freePort(), https: await freePort() }
      ports.set(workload, own)
      const credentials = await mutualTls(harness, files, workload)
      http.push(`server {
  listen 127.0.0.1:${own.http};
  ${credentials}
  location / {
    proxy_pass https://127.0.0.1:${harness.gateway.port(80)};
    proxy_http_version 1.1;
    proxy_set_header Host $http_host;
    proxy_set_header Connection "";
  }
}`)
      streams.push(`server {
  listen 127.0.0.1:${own.https};
  ${credentials}
  proxy_ssl on;
  proxy_pass 127.0.0.1:${harness.gateway.port(444)};
}`)
    }
    const file = files.write('nginx.conf', configuration(files, http, streams))
    await startServer(t, 'nginx', ['-p', files.dir, '-e', 'stderr', '-c', file], ready)
    return Object.fromEntries(ports) as Sidecars
  }
  await walkThrough000(t, start, { protocol: 'HTTP/1.1', sni: { 80: GATEWAY_NAME, 444: GATEWAY_NAME } })
})

/** In the foreground, in one process, every file in `dir`. */
function configuration({ dir }: Scratch, http: readonly string[], streams: readonly string[]): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
  return `load_module ${STREAM_MODULE};
daemon off;
master_process off;
pid ${dir}/nginx.pid;
error_log stderr error;
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

async function mutualTls(harness: Harness, files: Scratch, workload: string): Promise<string> {
  const { cert, key, ca } = await workloadFiles(files, harness, workload)
  return `proxy_ssl_certificate ${cert};
  proxy_ssl_certificate_key ${key};
  proxy_ssl_trusted_certificate ${ca};
  proxy_ssl_verify on;
  proxy_ssl_verify_depth 3;
  proxy_ssl_server_name on;
  proxy_ssl_name ${GATEWAY_NAME};
  proxy_ssl_session_reuse off;`
}
