/**
 * nginx as a contender: the same work as Sallyport's. It verifies the client's certificate, judges caller (by the
 * subject: it has no variable for URI SANs) and host, writes a JSON line per request in batches, and keeps pools.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { start } from '../measure/processes.ts'
import { type Contender, NAMES } from './contender.ts'
import { freePort, listening } from './port.ts'
import { CALLER, HOSTS, type World } from './world.ts'

/** As many fields as Sallyport's line has, as far as nginx knows them. */
const FIELDS = {
  start_time: '$time_iso8601',
  method: '$request_method',
  path: '$request_uri',
  protocol: '$server_protocol',
  response_code: '$status',
  bytes_received: '$request_length',
  bytes_sent: '$body_bytes_sent',
  duration: '$request_time',
  upstream_service_time: '$upstream_response_time',
  upstream_connect_time: '$upstream_connect_time',
  upstream_host: '$upstream_addr',
  upstream_status: '$upstream_status',
  x_forwarded_for: '$http_x_forwarded_for',
  user_agent: '$http_user_agent',
  request_id: '$http_x_request_id',
  authority: '$host',
  requested_server_name: '$ssl_server_name',
  downstream_remote_address: '$remote_addr:$remote_port',
  downstream_local_address: '$server_addr:$server_port',
  downstream_peer_subject: '$ssl_client_s_dn',
  tls_version: '$ssl_protocol',
  tls_cipher: '$ssl_cipher',
  trace_id: '$http_traceparent',
  connection: '$connection',
  decision: '$decision',
} as const

export async function startNginx(world: World): Promise<Contender> {
  const dir = world.directory('nginx')
  const port = await freePort()
  const log = join(dir, 'access.log')
  const { certificateChain, privateKey, trustBundle } = world.gatewayFiles
  const line = Object.entries(FIELDS).map(([name, value]) => `"${name}":"${value}"`)
  const file = join(dir, 'nginx.conf')
  writeFileSync(
    file,
    `daemon off;
worker_processes 1;
pid ${dir}/pid;
error_log stderr crit;
worker_rlimit_nofile 16384;
events { worker_connections 8192; multi_accept on; }
http {
  log_format bench escape=json '{${line.join(',')}}';
  access_log ${log} bench buffer=64k flush=200ms;
  keepalive_requests 100000000;
  keepalive_timeout 1h;
  client_body_temp_path ${dir}/body; proxy_temp_path ${dir}/proxy; fastcgi_temp_path ${dir}/f;
  uwsgi_temp_path ${dir}/u; scgi_temp_path ${dir}/s;
  map "$ssl_client_s_dn $host" $decision {
    default deny;
    "CN=${CALLER.commonName} ${HOSTS.plain}" allow;
    "CN=${CALLER.commonName} ${HOSTS.tls}" allow;
  }
  upstream plain { server 127.0.0.1:${world.sites.plain}; keepalive 128; keepalive_requests 100000000; keepalive_timeout 1h; }
  upstream tls { server 127.0.0.1:${world.sites.tls}; keepalive 128; keepalive_requests 100000000; keepalive_timeout 1h; }
  map $host $outside { default http://plain; ${HOSTS.tls} https://tls; }
  server {
    listen 127.0.0.1:${port} ssl http2 backlog=4096;
    ssl_certificate ${certificateChain};
    ssl_certificate_key ${privateKey};
    ssl_client_certificate ${trustBundle};
    ssl_verify_client on;
    ssl_protocols TLSv1.3;
    ssl_session_cache shared:bench:10m;
    location = /stub_status { stub_status; }
    location / {
      if ($decision = deny) { return 403 "RBAC: access denied"; }
      proxy_http_version 1.1;
      proxy_set_header Host $host;
      proxy_set_header Connection "";
      proxy_ssl_trusted_certificate ${trustBundle};
      proxy_ssl_verify on;
      proxy_ssl_server_name on;
      proxy_ssl_name ${HOSTS.tls};
      proxy_ssl_protocols TLSv1.3;
      proxy_pass $outside;
    }
  }
}
`,
  )
  const running = start('nginx', ['-c', file], { measured: true })
  await listening(port, running)
  return { name: NAMES.nginx, running, port, log }
}
