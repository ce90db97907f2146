/** The outside world of a walk-through table: its sites, its names, and how often each site was reached. */
import { once } from 'node:events'
import { createServer, type Server } from 'node:https'
import { type DnsServer, startDnsServer } from '../../src/testing/dns-server.ts'
import { startRawOrigin } from '../../src/testing/origin.ts'
import { createTestPki } from '../../src/testing/pki.ts'
import type { Scenario, SiteName } from './row.ts'
import { startOutside } from './scenario.ts'

type Site = {
  readonly address: string
  /** Connections accepted, and requests understood, so far. */
  reached(): { readonly connections: number; readonly requests: number }
}

export type Sites = {
  readonly httpPort: number
  readonly httpsPort: number
  /** PEM of the CA that signed the TLS sites' certificates; not the mesh's. */
  readonly root: string
  /** `port443` only where the scenario has names and this process may listen there. */
  readonly all: ReadonlyMap<SiteName, Site>
  readonly dns: DnsServer | null
  close(): Promise<void>
}

export async function startSites(scenario: Scenario): Promise<Sites> {
  const pki = await createTestPki({ trustDomain: 'outside.example' })
  const outside = await startOutside(pki, scenario.sites)
  const moved = scenario.moved === undefined ? null : await startMovedSite(scenario.moved)
  const echo = moved ?? outside.plain
  const all = new Map<SiteName, Site>([
    ['plain', site(echo.port, echo)],
    ['secure', site(outside.httpsPort, outside.secure)],
  ])
  const certificate = await pki.serverCert(scenario.sites[0], { dns: [...scenario.sites] })
  const port443 = scenario.names === undefined ? null : await startPort443(certificate)
  if (port443 !== null) all.set('port443', port443)
  const dns = scenario.names === undefined ? null : await startNames(scenario.names, port443?.host ?? '127.0.0.1')
  return {
    httpPort: echo.port,
    httpsPort: outside.httpsPort,
    root: pki.root,
    all,
    dns,
    close: async () => {
      await Promise.all([outside.close(), moved?.close(), port443?.close(), dns?.close()])
    },
  }
}

type Counted = { readonly requests: readonly string[]; readonly accepted: () => number }

function site(port: number, { requests, accepted }: Counted): Site {
  return {
    address: `127.0.0.1:${port}`,
    reached: () => ({ connections: accepted(), requests: requests.length }),
  }
}

/** Everything moved to https. */
async function startMovedSite(location: string) {
  const requests: string[] = []
  const origin = await startRawOrigin({
    onRequest: ({ socket }, head) => {
      requests.push(head)
      socket.write(`HTTP/1.1 301 Moved Permanently\r\nlocation: ${location}\r\ncontent-length: 0\r\n\r\n`)
    },
  })
  return { port: origin.port, requests, accepted: () => origin.connections.length, close: () => origin.close() }
}

/**
 * A TLS site on port 443 of a loopback address of its own: callers of several tests have one at the same time.
 * null: this process may not listen there.
 */
async function startPort443(certificate: { readonly cert: string; readonly key: string }) {
  let connections = 0
  let requests = 0
  for (let attempt = 0; attempt < 20; attempt++) {
    const host = `127.43.${1 + Math.floor(Math.random() * 250)}.${1 + Math.floor(Math.random() * 250)}`
    const server: Server = createServer({ cert: certificate.cert, key: certificate.key }, (_, response) => {
      requests++
      response.end('page')
    })
    server.on('connection', () => connections++)
    const error = await new Promise<NodeJS.ErrnoException | null>((resolve) => {
      server.once('error', resolve).listen(443, host, () => resolve(null))
    })
    if (error?.code === 'EADDRINUSE') continue
    if (error !== null) return null
    return {
      host,
      address: `${host}:443`,
      reached: () => ({ connections, requests }),
      close: async () => {
        server.closeAllConnections()
        server.close()
        await once(server, 'close')
      },
    }
  }
  return null
}

function startNames(names: Readonly<Record<string, string>>, address443: string): Promise<DnsServer> {
  return startDnsServer(({ name, type }) => {
    const address = names[name]?.replace('PORT443', address443)
    if (address === undefined) return { kind: 'rcode', code: 'NXDOMAIN' }
    return { kind: 'answer', addresses: type === 'A' ? [address] : [], ttl: 60 }
  })
}
