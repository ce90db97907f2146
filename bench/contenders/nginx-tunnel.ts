/** nginx as a contender of W3: SNI passthrough in its stream module, with 64 KB buffers. It has no SNI inside mTLS. */
import { spawnSync } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { start } from '../measure/processes.ts'
import { HOSTS } from '../tunnel-load.ts'
import { freePort, listening } from './port.ts'
import type { TunnelContender } from './tunnel.ts'
import type { World } from './world.ts'

/** Where Debian puts it. */
const MODULE = '/usr/lib/nginx/modules/ngx_stream_module.so'

/** The directive that loads the stream module, empty when it is built in; null: this nginx has none. */
function streamModule(): string | null {
  if (existsSync(MODULE)) return `load_module ${MODULE};`
  const { stderr } = spawnSync('nginx', ['-V'], { encoding: 'utf8' })
  return /--with-stream(?: |$)/m.test(stderr) ? '' : null
}

/** `siteRaw`: the port of the outside's raw end. null: nginx has no stream module. */
export async function startNginxTunnel(world: World, name: string, siteRaw: number): Promise<TunnelContender | null> {
  const module = streamModule()
  if (module === null) return null
  const dir = world.directory('nginx-tunnel')
  const port = await freePort()
  const file = join(dir, 'nginx.conf')
  writeFileSync(
    file,
    `${module}
daemon off;
worker_processes 1;
pid ${dir}/pid;
error_log stderr crit;
worker_rlimit_nofile 16384;
events { worker_connections 8192; multi_accept on; }
stream {
  log_format bench escape=json '{"start_time":"$time_iso8601","sni":"$ssl_preread_server_name","received":$bytes_received,"sent":$bytes_sent,"duration":$session_time,"peer":"$remote_addr:$remote_port","upstream_host":"$upstream_addr"}';
  access_log ${dir}/access.log bench;
  map $ssl_preread_server_name $outside { ${HOSTS.raw} 127.0.0.1:${siteRaw}; }
  server {
    listen 127.0.0.1:${port};
    ssl_preread on;
    proxy_buffer_size 64k;
    proxy_pass $outside;
  }
}
`,
  )
  const running = start('nginx', ['-c', file], { measured: true })
  await listening(port, running)
  return { name, pid: running.pid, ports: { passthrough: port }, stop: () => void running.stop() }
}
