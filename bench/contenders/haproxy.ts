/**
 * HAProxy as a contender: the same work as Sallyport's. It verifies the client's certificate, judges caller (by the
 * subject: it has no fetch for URI SANs) and host, writes a JSON line per request, and keeps pools. It can write to a
 * file only through its standard output, a write per line: it has no batches there.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { start } from '../measure/processes.ts'
import { type Contender, NAMES } from './contender.ts'
import { freePort, listening } from './port.ts'
import { CALLER, HOSTS, type World } from './world.ts'

const captured = (index: number) => `%[capture.req.hdr(${index}),json(utf8s)]`

/** As many fields as Sallyport's line has, as far as HAProxy knows them. */
const FIELDS = {
  start_time: '%[date,ltime(%Y-%m-%dT%H:%M:%S)].%ms',
  method: '%HM',
  path: '%[var(txn.path),json(utf8s)]',
  protocol: '%HV',
  response_code: '%ST',
  bytes_received: '%U',
  bytes_sent: '%B',
  duration: '%Ta',
  upstream_service_time: '%Tr',
  upstream_connect_time: '%Tc',
  upstream_host: '%si:%sp',
  upstream_local_address: '%bi:%bp',
  upstream_cluster: '%b',
  response_flags: '%tsc',
  authority: captured(0),
  user_agent: captured(1),
  request_id: captured(2),
  x_forwarded_for: captured(3),
  trace_id: captured(4),
  requested_server_name: '%[ssl_fc_sni,json(utf8s)]',
  downstream_remote_address: '%ci:%cp',
  downstream_local_address: '%fi:%fp',
  downstream_peer_subject: '%[ssl_c_s_dn(cn),json(utf8s)]',
  tls_version: '%sslv',
  tls_cipher: '%sslc',
} as const

const CAPTURES = ['host', 'user-agent', 'x-request-id', 'x-forwarded-for', 'traceparent'] as const

export async function startHaproxy(world: World): Promise<Contender> {
  const dir = world.directory('haproxy')
  const port = await freePort()
  const metrics = await freePort()
  const log = join(dir, 'access.log')
  const { trustBundle } = world.gatewayFiles
  const line = Object.entries(FIELDS).map(([name, value]) => `"${name}":"${value}"`)
  const file = join(dir, 'haproxy.cfg')
  writeFileSync(
    file,
    `global
  nbthread 1
  maxconn 8192
  log stdout format raw local0
  ssl-default-bind-options ssl-min-ver TLSv1.3
  ssl-default-server-options ssl-min-ver TLSv1.3
  tune.ssl.cachesize 20000
defaults
  mode http
  log global
  timeout connect 10s
  timeout client 1h
  timeout server 1h
  timeout http-keep-alive 1h
  timeout http-request 10s
  http-reuse always
frontend metrics
  bind 127.0.0.1:${metrics}
  http-request use-service prometheus-exporter if { path /metrics }
  no log
frontend mesh
  bind 127.0.0.1:${port} ssl crt ${world.gatewayPem} ca-file ${trustBundle} verify required alpn h2,http/1.1 backlog 4096
${CAPTURES.map((name) => `  http-request capture req.hdr(${name}) len 128`).join('\n')}
  http-request set-var(txn.path) pathq
  acl caller ssl_c_s_dn(cn) ${CALLER.commonName}
  acl allowed req.hdr(host) -i ${HOSTS.plain} ${HOSTS.tls}
  http-request return status 403 content-type text/plain string "RBAC: access denied" unless caller allowed
  log-format '{${line.join(',')}}'
  use_backend tls if { req.hdr(host) -i ${HOSTS.tls} }
  default_backend plain
backend plain
  server s 127.0.0.1:${world.sites.plain} pool-max-conn 128
backend tls
  server s 127.0.0.1:${world.sites.tls} pool-max-conn 128 ssl verify required ca-file ${trustBundle} sni str(${HOSTS.tls}) verifyhost ${HOSTS.tls}
`,
  )
  const running = start('haproxy', ['-db', '-f', file], { measured: true, stdout: log })
  await listening(port, running)
  return { name: NAMES.haproxy, running, port, log }
}
