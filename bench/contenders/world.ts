/**
 * What all contenders of a run share: a mesh CA, certificates as files, the outside site, a directory of its own. The
 * site is nginx where it is installed (1 KB answers over plain HTTP and over TLS), else a Node server, which is said.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createTestPki, type PkiFiles, type TestPki } from '../../src/testing/pki.ts'
import { BODY } from '../load/body.ts'
import { type Running, start } from '../measure/processes.ts'
import { freePort, listening } from './port.ts'

/** One gateway, three names: reached in plain, reached by TLS that the gateway originates, and forbidden to the caller. */
export const HOSTS = { plain: 'plain.example', tls: 'tls.example', refused: 'refused.example' } as const
/** The caller's namespace and service account, and the common name that peers without SPIFFE judge it by. */
export const CALLER = { account: 'default/sleep', commonName: 'sleep.default' } as const

/** The head of an answer from outside, about as long as real ones. */
const RESPONSE_HEADERS = {
  'content-type': 'application/json; charset=utf-8',
  'cache-control': 'no-store, max-age=0',
  etag: '"33a64df551425fcc55e4d42a148795d9"',
  vary: 'accept-encoding, origin',
  'x-content-type-options': 'nosniff',
  'x-ratelimit-remaining': '4999',
  'strict-transport-security': 'max-age=31536000',
} as const

export class World {
  readonly dir: string
  readonly pki: TestPki
  readonly gatewayFiles: PkiFiles
  readonly callerFiles: PkiFiles
  /** Certificate and key in one file, as HAProxy wants them. */
  readonly gatewayPem: string
  readonly sites: { readonly plain: number; readonly tls: number }
  readonly siteName: string
  readonly #closeSite: () => Promise<void>

  private constructor(
    from: Pick<World, 'dir' | 'pki' | 'gatewayFiles' | 'callerFiles' | 'gatewayPem' | 'sites' | 'siteName'>,
    closeSite: () => Promise<void>,
  ) {
    this.dir = from.dir
    this.pki = from.pki
    this.gatewayFiles = from.gatewayFiles
    this.callerFiles = from.callerFiles
    this.gatewayPem = from.gatewayPem
    this.sites = from.sites
    this.siteName = from.siteName
    this.#closeSite = closeSite
  }

  /** `nginx`: is it installed? */
  static async create(nginx: boolean): Promise<World> {
    const dir = mkdtempSync(join(tmpdir(), 'sallyport-bench-'))
    try {
      const pki = await createTestPki()
      const gateway = await pki.svid('istio-system/istio-egressgateway-service-account')
      const caller = await pki.svid(CALLER.account, { commonName: CALLER.commonName })
      const site = (await pki.serverCert(HOSTS.tls)).writeTo(join(dir, 'site'))
      const gatewayPem = join(dir, 'gateway.pem')
      writeFileSync(gatewayPem, gateway.cert + gateway.key, { mode: 0o600 })
      const { sites, close } = nginx ? await nginxSite(dir, site) : await nodeSite(pki)
      const siteName = nginx ? 'nginx' : 'a Node server, for want of nginx'
      const gatewayFiles = gateway.writeTo(join(dir, 'identity'))
      const callerFiles = caller.writeTo(join(dir, 'caller'))
      return new World({ dir, pki, gatewayFiles, callerFiles, gatewayPem, sites, siteName }, close)
    } catch (error) {
      rmSync(dir, { recursive: true, force: true })
      throw error
    }
  }

  /** A new directory for one contender's files. */
  directory(name: string): string {
    return mkdtempSync(join(this.dir, `${name.replaceAll(/[^a-z0-9]+/g, '-')}-`))
  }

  async close(): Promise<void> {
    await this.#closeSite()
    rmSync(this.dir, { recursive: true, force: true })
  }
}

type Site = { readonly sites: World['sites']; readonly close: () => Promise<void> }

async function nginxSite(dir: string, { certificateChain, privateKey }: PkiFiles): Promise<Site> {
  const sites = { plain: await freePort(), tls: await freePort() }
  const home = join(dir, 'site-nginx')
  mkdirSync(home)
  const headers = Object.entries(RESPONSE_HEADERS)
    .map(([name, value]) => (name === 'content-type' ? `default_type "${value}";` : `add_header ${name} '${value}';`))
    .join('\n      ')
  const file = join(home, 'nginx.conf')
  writeFileSync(
    file,
    `daemon off;
master_process off;
pid ${home}/pid;
error_log stderr crit;
worker_rlimit_nofile 16384;
events { worker_connections 8192; }
http {
  access_log off;
  keepalive_requests 100000000;
  keepalive_timeout 1h;
  client_body_temp_path ${home}/body; proxy_temp_path ${home}/proxy; fastcgi_temp_path ${home}/f;
  uwsgi_temp_path ${home}/u; scgi_temp_path ${home}/s;
  server {
    listen 127.0.0.1:${sites.plain} backlog=4096;
    listen 127.0.0.1:${sites.tls} ssl backlog=4096;
    ssl_certificate ${certificateChain};
    ssl_certificate_key ${privateKey};
    ssl_protocols TLSv1.3;
    location / {
      ${headers}
      return 200 "${BODY}";
    }
  }
}
`,
  )
  const running: Running = start('nginx', ['-c', file], { measured: false })
  await listening(sites.tls, running)
  return { sites, close: () => running.stop() }
}

/** In this process, which runs on the second core too. */
async function nodeSite(pki: TestPki): Promise<Site> {
  const { cert, key } = await pki.serverCert(HOSTS.tls)
  const answer = (_: http.IncomingMessage, response: http.ServerResponse) =>
    response.writeHead(200, { ...RESPONSE_HEADERS, 'content-length': BODY.length }).end(BODY)
  const servers = [http.createServer(answer), https.createServer({ cert, key, minVersion: 'TLSv1.3' }, answer)] as const
  for (const server of servers) {
    server.keepAliveTimeout = 3_600_000
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  }
  const [plain, tls] = servers.map((server) => (server.address() as AddressInfo).port) as [number, number]
  return {
    sites: { plain, tls },
    close: async () => {
      for (const server of servers) {
        server.closeAllConnections()
        server.close()
      }
    },
  }
}
