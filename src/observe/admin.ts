/**
 * The ports for operators and probes (contract §8): a TABLE of endpoints, and the three servers that serve them.
 * The admin port has no login: it belongs on loopback, and refuses what a web page could make a browser send there.
 */
import { isIP } from 'node:net'
import { checkRegex, compileRegex } from '../core/regex.ts'
import { addBlock, type BlockSwitch, listBlocks, removeBlock } from './admin-blocks.ts'
import {
  type CertificateStatus,
  type ClusterStatus,
  certsJson,
  clustersJson,
  clustersText,
  type ListenerStatus,
  listenersJson,
  listenersText,
} from './admin-views.ts'
import { type Answer, type ControlRequest, type ControlServer, createControlServer, json, text } from './http-server.ts'
import { LOG_LEVELS, type LogLevel, parseLogLevel } from './log.ts'
import { type Metrics, PROMETHEUS_CONTENT_TYPE } from './metrics.ts'
import { redact } from './redact.ts'
import { type StatusSources, statusReport } from './status.ts'
import { statusPage } from './status-page.ts'
import { PAGE_HEADERS } from './status-style.ts'

/** What the admin port needs from the running gateway. Called per request; plain data comes back. */
export type AdminProvider = Pick<StatusSources, 'routes' | 'policies' | 'lastReload'> & {
  /** Envoy's names. */
  readonly state: () => 'LIVE' | 'PRE_INITIALIZING' | 'INITIALIZING' | 'DRAINING'
  /** Whatever shows the active configuration as JSON. Secrets are taken out here again, but should not be in it. */
  readonly configDump: () => unknown
  readonly clusters: () => readonly ClusterStatus[]
  readonly listeners: () => readonly ListenerStatus[]
  readonly certs: () => readonly CertificateStatus[]
  /** Version, uptime and the like; `state` is added. */
  readonly serverInfo: () => Readonly<Record<string, unknown>>
  readonly setLogLevel: (level: LogLevel) => void
  readonly drainListeners: () => void
  readonly failHealthcheck: () => void
  readonly okHealthcheck: () => void
  /** Called after the answer has been sent. */
  readonly quit: () => void
  readonly metrics: Metrics
  readonly blocks: BlockSwitch
}

type Method = 'GET' | 'POST' | 'DELETE'

type Endpoint = {
  readonly method: Method
  readonly path: string
  readonly help: string
  readonly handle: (provider: AdminProvider, request: ControlRequest) => Answer | Promise<Answer>
}

const OK = text(200, 'OK\n')

/** Runs a command and answers OK. */
const command = (run: (provider: AdminProvider) => void) => (provider: AdminProvider) => {
  run(provider)
  return OK
}
const wantsJson = (request: ControlRequest) => request.query.get('format') === 'json'

/** TABLE of admin endpoints; /help and the documentation are written from it. */
export const ADMIN_ENDPOINTS: readonly Endpoint[] = [
  {
    method: 'GET',
    path: '/',
    help: 'the status page: last decisions, who goes where, routes, policies, certificates, last reload',
    handle: (provider) => ({
      status: 200,
      type: 'text/html; charset=utf-8',
      body: statusPage(statusReport(provider), Date.now()),
      headers: PAGE_HEADERS,
    }),
  },
  {
    method: 'GET',
    path: '/status.json',
    help: 'the same as JSON',
    handle: (provider) => json(redact(statusReport(provider))),
  },
  {
    method: 'GET',
    path: '/ready',
    help: '200 LIVE, or 503 with the state',
    handle: (provider) => ready(provider.state()),
  },
  {
    method: 'GET',
    path: '/stats',
    help: 'Envoy statistics; ?filter=RE2 (or text), ?usedonly, ?format=text|json|prometheus',
    handle: stats,
  },
  { method: 'GET', path: '/stats/prometheus', help: 'all metrics for Prometheus', handle: prometheus },
  {
    method: 'GET',
    path: '/config_dump',
    help: 'the active configuration, without secrets',
    handle: (provider) => json(redact(provider.configDump())),
  },
  {
    method: 'GET',
    path: '/clusters',
    help: 'clusters and their endpoints; ?format=json',
    handle: (provider, request) =>
      wantsJson(request) ? json(clustersJson(provider.clusters())) : text(200, clustersText(provider.clusters())),
  },
  {
    method: 'GET',
    path: '/listeners',
    help: 'bound ports; ?format=json',
    handle: (provider, request) =>
      wantsJson(request) ? json(listenersJson(provider.listeners())) : text(200, listenersText(provider.listeners())),
  },
  {
    method: 'GET',
    path: '/certs',
    help: 'certificates in use, with their expiry',
    handle: (provider) => json(certsJson(provider.certs(), Date.now())),
  },
  {
    method: 'GET',
    path: '/server_info',
    help: 'version, state and uptime',
    handle: (provider) => json(redact({ ...provider.serverInfo(), state: provider.state() })),
  },
  { method: 'GET', path: '/blocks', help: 'what is blocked now', handle: ({ blocks }) => listBlocks(blocks) },
  {
    method: 'POST',
    path: '/blocks',
    help: '?from=PRINCIPAL|ns/NAMESPACE|*[&to=HOST]&for=30m&reason=TEXT: refuse this caller, and end what it has open',
    handle: ({ blocks }, request) => addBlock(blocks, request),
  },
  {
    method: 'DELETE',
    path: '/blocks',
    help: '?id=ID: lift a block',
    handle: ({ blocks }, request) => removeBlock(blocks, request),
  },
  { method: 'GET', path: '/help', help: 'this list', handle: () => text(200, help()) },
  { method: 'POST', path: '/logging', help: '?level=LEVEL: level of the operational log', handle: logging },
  {
    method: 'POST',
    path: '/drain_listeners',
    help: 'stop accepting connections; open ones go on',
    handle: command((provider) => provider.drainListeners()),
  },
  {
    method: 'POST',
    path: '/healthcheck/fail',
    help: 'let readiness fail',
    handle: command((provider) => provider.failHealthcheck()),
  },
  {
    method: 'POST',
    path: '/healthcheck/ok',
    help: 'take /healthcheck/fail back',
    handle: command((provider) => provider.okHealthcheck()),
  },
  {
    method: 'POST',
    path: '/quitquitquit',
    help: 'drain and end, as SIGTERM does',
    handle: (provider) => ({ ...OK, after: () => provider.quit() }),
  },
]

function help(): string {
  const width = Math.max(...ADMIN_ENDPOINTS.map(({ path }) => path.length))
  const lines = ADMIN_ENDPOINTS.map(
    ({ method, path, help: words }) => `${method.padEnd(6)} ${path.padEnd(width)}  ${words}\n`,
  )
  return `admin commands are:\n${lines.join('')}`
}

function ready(state: ReturnType<AdminProvider['state']>): Answer {
  return text(state === 'LIVE' ? 200 : 503, `${state}\n`)
}

async function prometheus(provider: Pick<AdminProvider, 'metrics'>): Promise<Answer> {
  return { status: 200, type: PROMETHEUS_CONTENT_TYPE, body: await provider.metrics.prometheus() }
}

function stats(provider: AdminProvider, { query }: ControlRequest): Answer | Promise<Answer> {
  const format = query.get('format') ?? 'text'
  if (format === 'prometheus') return prometheus(provider)
  if (format !== 'text' && format !== 'json') return text(400, 'usage: /stats?format=text|json|prometheus\n')
  const pattern = query.get('filter') ?? ''
  const filter = pattern === '' ? null : statsFilter(pattern)
  if (typeof filter === 'string') return text(400, `invalid filter: ${filter}\n`)
  const body = provider.metrics.stats({ filter, format, usedOnly: query.has('usedonly') })
  return { status: 200, type: format === 'json' ? 'application/json' : 'text/plain; charset=utf-8', body }
}

/** What stands in the name of a statistic: searched as it is, since an expression costs thousands of times as much. */
const PLAIN_FILTER = /^[\w.-]+$/

/** Envoy's filter: an RE2 expression found anywhere in the name. Returns what is wrong with it as text. */
function statsFilter(pattern: string): ((name: string) => boolean) | string {
  if (PLAIN_FILTER.test(pattern)) return (name) => name.includes(pattern)
  const problem = checkRegex(pattern)
  if (problem !== null) return problem
  try {
    const { matches } = compileRegex(`.*(?:${pattern}).*`)
    return matches
  } catch (error) {
    return (error as Error).message
  }
}

function logging(provider: AdminProvider, { query }: ControlRequest): Answer {
  const level = parseLogLevel(query.get('level') ?? '')
  if (level === null) return text(400, `usage: POST /logging?level=${Object.keys(LOG_LEVELS).join('|')}\n`)
  provider.setLogLevel(level)
  return text(200, `log level: ${level}\n`)
}

const BY_PATH: ReadonlyMap<string, readonly Endpoint[]> = Map.groupBy(ADMIN_ENDPOINTS, ({ path }) => path)

/** `localhost` or an address literal, with or without a port: what DNS rebinding cannot be. */
function isLocalName(host: string): boolean {
  const name = host.startsWith('[') ? host.slice(1, host.indexOf(']')) : host.replace(/:[0-9]*$/, '')
  return name.toLowerCase() === 'localhost' || isIP(name) !== 0
}

/** Why a browser may have been tricked into this request, or null. HTTP/1.0 needs no Host, and no browser speaks it. */
function crossSite(request: ControlRequest): string | null {
  if (request.origin !== null) return 'requests with an Origin header are refused'
  if (request.host !== null && !isLocalName(request.host)) return 'the Host header must be an IP address or localhost'
  return null
}

function wrongMethod(request: ControlRequest, method: Method): boolean {
  return request.method !== method && !(method === 'GET' && request.method === 'HEAD')
}

function notAllowed(...methods: Method[]): Answer {
  const allow = methods.flatMap((method) => (method === 'GET' ? ['GET', 'HEAD'] : [method]))
  return { ...text(405, `use ${methods.join(', ')}\n`), headers: { allow: allow.join(', ') } }
}

/** The admin port (`:15000`). Every request is refused that comes from another site or under a foreign name. */
export function createAdminServer(provider: AdminProvider, onError?: (error: unknown) => void): ControlServer {
  return createControlServer((request) => {
    const suspicion = crossSite(request)
    if (suspicion !== null) return text(403, `${suspicion}\n`)
    const endpoints = BY_PATH.get(request.path)
    if (endpoints === undefined) return text(404, `no such endpoint\n\n${help()}`)
    const endpoint = endpoints.find(({ method }) => !wrongMethod(request, method))
    if (endpoint === undefined) return notAllowed(...endpoints.map(({ method }) => method))
    return endpoint.handle(provider, request)
  }, onError)
}

/** The metrics port (`:15090/stats/prometheus`). */
export function createMetricsServer(metrics: Metrics, onError?: (error: unknown) => void): ControlServer {
  return createControlServer((request) => {
    if (request.path !== '/stats/prometheus') return text(404, 'metrics are at /stats/prometheus\n')
    return wrongMethod(request, 'GET') ? notAllowed('GET') : prometheus({ metrics })
  }, onError)
}

/** The health port (`:15021/healthz/ready`). */
export function createHealthServer(isReady: () => boolean, onError?: (error: unknown) => void): ControlServer {
  return createControlServer((request) => {
    if (request.path !== '/healthz/ready') return text(404, 'readiness is at /healthz/ready\n')
    if (wrongMethod(request, 'GET')) return notAllowed('GET')
    return isReady() ? text(200, 'ready\n') : text(503, 'not ready\n')
  }, onError)
}
