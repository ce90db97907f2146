/**
 * `sallyport explain`: the decision for one request and why, from the configuration alone: no sockets, no DNS. Calls
 * the same normalisation and the same judgement as the running gateway, so the two cannot disagree.
 */
import { isIP } from 'node:net'
import { parseArgs } from 'node:util'
import { formatDiagnostic } from '../config/diagnostics.ts'
import { loadConfiguration } from '../config/load.ts'
import { NO_PEER, type Peer, type SourceRef } from '../core/attributes.ts'
import { REFUSALS, type RefusalRow } from '../core/refusal.ts'
import { targetText } from '../core/request-target.ts'
import { createAddressGuard } from '../forward/address-guard.ts'
import { parseSpiffeId } from '../identity/spiffe.ts'
import type { Downstream } from '../listeners/downstream.ts'
import { normaliseRequest } from '../listeners/normalise.ts'
import type { GatewayModel } from '../model/gateway.ts'
import type { ServerModel } from '../model/listener.ts'
import { checkAccessLogFormat } from '../observe/access-log/format.ts'
import type { PolicyExplanation } from '../policy/explain.ts'
import { indexHosts } from '../routing/host-index.ts'
import { compileRouteTable } from '../routing/table.ts'
import { type HttpRequestAttributes, judgeHttp } from '../runtime/judge.ts'
import { createJudge } from '../runtime/snapshot.ts'
import { type Io, UsageError } from './io.ts'

type Question = {
  readonly method: string
  /** As asked, for display. */
  readonly url: string
  /** Request target, exactly as written in the URL. */
  readonly target: string
  readonly headers: readonly string[]
  readonly from: string | null
  readonly port: number
  readonly sourceIp: string
  readonly sni: string | null
}

/** What is printed; `-o json` prints just this. */
export type Explanation = {
  readonly allowed: boolean
  readonly status: number | null
  readonly reason: string | null
  readonly details: string | null
  readonly server: string | null
  readonly policies: readonly PolicyExplanation[]
  readonly decidedBy: string | null
  readonly virtualHost: { readonly host: string; readonly source: SourceRef } | null
  readonly grant: { readonly name: string; readonly source: SourceRef } | null
  readonly routes: readonly { readonly matched: boolean; readonly why: string; readonly source: SourceRef }[]
  readonly routeName: string | null
  readonly cluster: string | null
  readonly upstream: string | null
  readonly conclusion: string
}

export async function explain(argv: readonly string[], io: Io): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: {
      config: { type: 'string', short: 'f' },
      from: { type: 'string' },
      port: { type: 'string', default: '80' },
      'source-ip': { type: 'string', default: '127.0.0.1' },
      sni: { type: 'string' },
      claim: { type: 'string', multiple: true, default: [] },
      header: { type: 'string', short: 'H', multiple: true, default: [] },
      output: { type: 'string', short: 'o', default: 'text' },
      color: { type: 'string', default: 'auto' },
    },
  })
  if (values.config === undefined) throw new UsageError('-f FILE is needed')
  if (!['text', 'json'].includes(values.output)) throw new UsageError('-o takes text or json')
  if (values.claim.length > 0)
    throw new UsageError('--claim: JWT conditions are not built yet; policies with them are refused at load')
  const question = readQuestion(positionals, values)
  const loaded = loadConfiguration(values.config, { checkAccessLogFormat })
  if (loaded.model === null) {
    for (const diagnostic of loaded.diagnostics)
      if (diagnostic.severity === 'error') io.stderr.write(`${formatDiagnostic(diagnostic)}\n`)
    return 2
  }
  const explanation = explainRequest(loaded.model, question)
  io.stdout.write(
    values.output === 'json' ? `${JSON.stringify(explanation, null, 2)}\n` : renderText(question, explanation),
  )
  return explanation.allowed ? 0 : 1
}

function readQuestion(
  positionals: readonly string[],
  values: { from?: string; port: string; 'source-ip': string; sni?: string; header: string[] },
): Question {
  const [method, target] = positionals
  if (method !== undefined && /^(?:tls|tcp):\/\//.test(method))
    throw new UsageError('tunnels (tls://, tcp://) are not built yet: they are refused at run time')
  if (method === undefined || target === undefined || positionals.length > 2)
    throw new UsageError('explain needs METHOD and URL')
  // Taken apart by hand: the URL class would normalise the target before we do.
  const parts = /^https?:\/\/([^/?#]*)(.*)$/i.exec(target)
  if (parts === null) throw new UsageError(`not an http(s) URL: ${target}`)
  const [, authority = '', rest = ''] = parts
  const port = Number(values.port)
  if (!Number.isInteger(port) || port < 1 || port > 65535)
    throw new UsageError(`--port takes a Gateway port, 1–65535: ${values.port}`)
  if (isIP(values['source-ip']) === 0) throw new UsageError(`--source-ip: not an IP address: ${values['source-ip']}`)
  const headers = values.header.flatMap((line) => {
    const colon = line.indexOf(':')
    if (colon < 1) throw new UsageError(`-H takes 'name: value': ${line}`)
    return [line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim()]
  })
  const named = headers.some((name, index) => index % 2 === 0 && name === 'host')
  return {
    method,
    url: target,
    target: rest.startsWith('/') ? rest : `/${rest}`,
    headers: named ? headers : ['host', authority, ...headers],
    from: values.from ?? null,
    port,
    sourceIp: values['source-ip'],
    sni: values.sni ?? null,
  }
}

/** Judges one question against a model. Pure. */
export function explainRequest(model: GatewayModel, question: Question): Explanation {
  const listener = model.listeners.find(({ gatewayPort }) => gatewayPort === question.port)
  if (listener === undefined) {
    const ports = model.listeners.map(({ gatewayPort }) => gatewayPort).join(', ')
    throw new UsageError(`no listener for Gateway port ${question.port} (there are: ${ports})`)
  }
  const peer = readPeer(question.from)
  const server = chooseServer(listener.servers, question)
  if (server === null || server.application !== 'http') {
    return refusedEarly(
      server === null ? 'no_server_for_sni' : 'protocol_mismatch',
      server,
      'closed before a request is read',
    )
  }
  if (server.tls?.mode === 'ISTIO_MUTUAL' && peer.kind === 'none')
    return refusedEarly('no_client_certificate', server, 'closed: this server needs a mesh identity (--from)')
  const downstream = asDownstream(question)
  const sni = server.tls?.mode === 'SIMPLE' ? question.sni : null
  const normal = normaliseRequest(downstream, server.tls === null ? 'http' : 'https', model.settings, sni)
  if ('kind' in normal) {
    const row: RefusalRow = REFUSALS[normal.kind]
    return {
      ...EMPTY,
      server: server.name,
      status: row.status,
      reason: row.reason,
      details: normal.details ?? row.details,
      conclusion: `refused: ${row.status}, the request is malformed or ambiguous`,
    }
  }
  const attributes: HttpRequestAttributes = {
    peer,
    sourceIp: question.sourceIp,
    remoteIp: question.sourceIp,
    destinationIp: model.settings.bindAddress,
    destinationPort: listener.bindPort === 0 ? listener.gatewayPort : listener.bindPort,
    gatewayPort: listener.gatewayPort,
    sni: question.sni,
    http: normal.http,
  }
  const judge = createJudge(model)
  const table = model.routeTables.find(({ name }) => name === server.routeTable)
  if (table === undefined) throw new Error(`no route table ${server.routeTable}`)
  const judgement = judgeHttp(judge, compileRouteTable(table), attributes, 0)
  const { virtualHost, grant, decision, refusal } = judgement
  const clusterModel = model.clusters.find(({ name }) => name === judgement.clusterName) ?? null
  const row: RefusalRow | null = refusal === null ? null : REFUSALS[refusal.kind]
  const forwards = judgement.destination !== null
  const unknownCluster = refusal === null && forwards && clusterModel === null
  const denied = refusal === null && clusterModel !== null ? deniedAddress(model, clusterModel.name) : null
  const last: RefusalRow | null = unknownCluster ? REFUSALS.no_cluster : denied === null ? row : REFUSALS.address_denied
  return {
    allowed: last === null,
    status: last?.status ?? null,
    reason: last?.reason ?? null,
    details: denied === null ? (refusal?.details ?? last?.details ?? null) : `address_denied{${denied}}`,
    server: server.name,
    policies: judge.authorizer.explain(attributes),
    decidedBy:
      decision.policy === null
        ? null
        : `${decision.policy}${decision.source === null ? '' : ` at ${place(decision.source)}`}`,
    virtualHost: virtualHost === null ? null : { host: virtualHost.model.host, source: virtualHost.model.source },
    grant: grant === null ? null : { name: grant.model.name, source: grant.model.source },
    routes: (virtualHost?.explainMatch(normal.http, grant) ?? []).map(({ route, matched, why }) => ({
      matched,
      why,
      source: route.source,
    })),
    routeName: judgement.routeName,
    cluster: judgement.clusterName,
    upstream: clusterModel === null ? null : describeUpstream(model, clusterModel.name),
    conclusion:
      last === null
        ? `allowed: ${normal.http.method} ${normal.http.authority.text}${targetText(normal.http)}`
        : `refused: ${last.status} ${last.reason ?? last.details}`,
  }
}

const EMPTY: Explanation = {
  allowed: false,
  status: null,
  reason: null,
  details: null,
  server: null,
  policies: [],
  decidedBy: null,
  virtualHost: null,
  grant: null,
  routes: [],
  routeName: null,
  cluster: null,
  upstream: null,
  conclusion: '',
}

function refusedEarly(reason: string, server: ServerModel | null, conclusion: string): Explanation {
  return { ...EMPTY, reason, server: server?.name ?? null, conclusion: `refused: ${conclusion} (${reason})` }
}

function readPeer(from: string | null): Peer {
  if (from === null) return NO_PEER
  const parsed = parseSpiffeId(from)
  if ('error' in parsed) throw new UsageError(`--from: ${parsed.error}`)
  const certificate = {
    sha256: '',
    subject: '',
    issuer: '',
    serial: '',
    uriSans: [parsed.id.uri],
    dnsSans: [],
    notBefore: 0,
    notAfter: 0,
  }
  return { kind: 'spiffe', id: parsed.id, certificate }
}

/** As the listener chooses: a caller with an identity comes over mTLS; --sni, else what a sidecar sends by default. */
function chooseServer(servers: readonly ServerModel[], question: Question): ServerModel | null {
  const tls = servers.filter(
    (server) => server.tls !== null && (question.from === null || server.tls.mode !== 'PASSTHROUGH'),
  )
  const index = indexHosts(tls.flatMap((server) => server.sniHosts.map((host) => [host, server] as const)))
  const found = index.find(question.sni ?? 'outbound_.0_._.gateway')
  const plaintext = servers.find((server) => server.tls === null) ?? null
  return question.from === null && question.sni === null ? (plaintext ?? found) : found
}

function asDownstream(question: Question): Downstream {
  const { headers } = question
  const authorities = headers.filter((_, index) => index % 2 === 1 && headers[index - 1] === 'host')
  const unused = () => {
    throw new Error('explain sends nothing')
  }
  return {
    protocol: 'HTTP/1.1',
    method: question.method,
    target: question.target,
    authorities,
    headers,
    body: null,
    expectsContinue: false,
    expectsOther: false,
    responded: false,
    sendContinue: unused,
    reply: unused,
    start: unused,
    reset: unused,
  }
}

/** STATIC addresses are judged (contract §1); names are not resolved. The class when nothing may be dialled. */
function deniedAddress(model: GatewayModel, cluster: string): string | null {
  const found = model.clusters.find(({ name }) => name === cluster)
  if (found === undefined || found.discovery !== 'static' || found.endpoints.length === 0) return null
  const guard = createAddressGuard(model.settings.addressGuard.allow, () => false)
  const verdicts = found.endpoints.map(({ address }) => guard.judge(address, 'static'))
  return verdicts.every((verdict) => verdict !== null) ? (verdicts[0] ?? null) : null
}

function describeUpstream(model: GatewayModel, cluster: string): string | null {
  const found = model.clusters.find(({ name }) => name === cluster)
  if (found === undefined) return null
  const tls =
    found.tls === null
      ? 'plaintext'
      : `TLS ${found.tls.mode}, SNI ${found.tls.sni ?? found.host}${found.tls.insecureSkipVerify ? ', NOT VERIFIED' : ''}`
  const where =
    found.discovery === 'dynamic'
      ? `the requested name, port ${found.dynamicPort}`
      : found.endpoints.map(({ address, port }) => `${address}:${port}`).join(', ')
  return `${found.discovery}: ${where} (${tls}); ${place(found.source)}`
}

function place({ file, line, col }: SourceRef): string {
  return `${file}:${line}:${col}`
}

function renderText(question: Question, explanation: Explanation): string {
  const lines = [
    `${question.method} ${question.url} from ${question.from ?? 'a caller without identity'} on Gateway port ${question.port}`,
  ]
  lines.push(`  server: ${explanation.server ?? 'none'}`)
  if (explanation.policies.length === 0) lines.push('  policies: none applies to this gateway')
  for (const policy of explanation.policies) {
    lines.push(
      `  policy ${policy.policy} ${policy.action}${policy.dryRun ? ' (dry-run)' : ''}  ${place(policy.source)}`,
    )
    for (const rule of policy.rules)
      lines.push(
        `    rule[${rule.index}] ${rule.matched ? 'MATCHES' : 'no match'}  ${place(rule.source)}\n      ${rule.why}`,
      )
  }
  if (explanation.decidedBy !== null) lines.push(`  decided by: ${explanation.decidedBy}`)
  if (explanation.virtualHost !== null)
    lines.push(`  host: ${explanation.virtualHost.host}  ${place(explanation.virtualHost.source)}`)
  if (explanation.grant !== null)
    lines.push(`  egress policy: ${explanation.grant.name}  ${place(explanation.grant.source)}`)
  for (const route of explanation.routes)
    lines.push(`  route ${route.matched ? 'MATCHES' : 'no match'}  ${place(route.source)}\n      ${route.why}`)
  if (explanation.cluster !== null) lines.push(`  cluster: ${explanation.cluster}`)
  if (explanation.upstream !== null) lines.push(`  upstream: ${explanation.upstream}`)
  lines.push(`  → ${explanation.conclusion}${explanation.details === null ? '' : ` [${explanation.details}]`}`)
  return `${lines.join('\n')}\n`
}
