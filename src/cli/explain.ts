/**
 * `sallyport explain`: the decision for one request and why, from the configuration alone: no sockets, no DNS.
 */
import { isIP } from 'node:net'
import { parseArgs } from 'node:util'
import { formatDiagnostic } from '../config/diagnostics.ts'
import { loadConfiguration } from '../config/load.ts'
import { checkAccessLogFormat } from '../observe/access-log/format.ts'
import { limitLines } from './explain-limits.ts'
import { type Explanation, place, type Question } from './explain-parts.ts'
import { readClaims } from './explain-token.ts'
import { explainTunnel, type TunnelQuestion } from './explain-tunnel.ts'
import { explainRequest } from './explanation.ts'
import { type Io, UsageError } from './io.ts'

export async function explain(argv: readonly string[], io: Io): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: {
      config: { type: 'string', short: 'f' },
      from: { type: 'string' },
      port: { type: 'string' },
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
  if (!['auto', 'never'].includes(values.color)) throw new UsageError('--color takes auto or never')
  const question = /^(?:tls|tcp):\/\//.test(positionals[0] ?? '')
    ? readTunnelQuestion(positionals, values)
    : readQuestion(positionals, values)
  const loaded = loadConfiguration(values.config, { checkAccessLogFormat })
  if (loaded.model === null) {
    for (const diagnostic of loaded.diagnostics)
      if (diagnostic.severity === 'error') io.stderr.write(`${formatDiagnostic(diagnostic)}\n`)
    return 2
  }
  const explanation =
    'kind' in question ? explainTunnel(loaded.model, question) : explainRequest(loaded.model, question)
  io.stdout.write(
    values.output === 'json' ? `${JSON.stringify(explanation, null, 2)}\n` : renderText(question, explanation),
  )
  return explanation.allowed ? 0 : 1
}

type Values = { from?: string; port?: string; 'source-ip': string; sni?: string; header: string[]; claim: string[] }

/** `tls://HOST[:PORT]` or `tcp://HOST:PORT`: the Gateway port is --port, else the URL's, else 443. */
function readTunnelQuestion(positionals: readonly string[], values: Values): TunnelQuestion {
  const [url = ''] = positionals
  const parts = /^(tls|tcp):\/\/([^/?#:]+|\[[^\]]+\])(?::(\d+))?\/?$/.exec(url)
  if (parts === null || positionals.length > 1)
    throw new UsageError(`a tunnel is tls://HOST[:PORT] or tcp://HOST:PORT: ${url}`)
  if (values.header.length > 0) throw new UsageError('-H: a tunnel has no header fields')
  if (values.claim.length > 0) throw new UsageError('--claim: a tunnel carries no token that could be read')
  return {
    kind: parts[1] as 'tls' | 'tcp',
    url,
    host: parts[2] as string,
    from: values.from ?? null,
    port: readPort(values.port ?? parts[3] ?? '443'),
    sourceIp: readIp(values['source-ip']),
    sni: values.sni ?? null,
  }
}

function readPort(text: string): number {
  const port = Number(text)
  if (!Number.isInteger(port) || port < 1 || port > 65535)
    throw new UsageError(`--port takes a Gateway port, 1–65535: ${text}`)
  return port
}

function readIp(text: string): string {
  if (isIP(text) === 0) throw new UsageError(`--source-ip: not an IP address: ${text}`)
  return text
}

function readQuestion(positionals: readonly string[], values: Values): Question {
  const [method, target] = positionals
  if (method === undefined || target === undefined || positionals.length > 2)
    throw new UsageError('explain needs METHOD and URL')
  // Taken apart by hand: the URL class would normalise the target before we do.
  const parts = /^https?:\/\/([^/?#]*)(.*)$/i.exec(target)
  if (parts === null) throw new UsageError(`not an http(s) URL: ${target}`)
  const [, authority = '', rest = ''] = parts
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
    port: readPort(values.port ?? '80'),
    sourceIp: readIp(values['source-ip']),
    sni: values.sni ?? null,
    claims: values.claim.length === 0 ? null : readClaims(values.claim),
  }
}

function renderText(question: Question | TunnelQuestion, explanation: Explanation): string {
  const lines = [
    `${'kind' in question ? 'tunnel' : question.method} ${question.url} from ${question.from ?? 'a caller without identity'} on Gateway port ${question.port}`,
  ]
  lines.push(`  server: ${explanation.server ?? 'none'}`)
  if (explanation.policies.length === 0)
    lines.push(
      `  policies: ${explanation.judged ? 'none applies to this gateway' : 'not consulted, it ends before them'}`,
    )
  for (const policy of explanation.policies) {
    lines.push(
      `  policy ${policy.policy} ${policy.action}${policy.dryRun ? ' (dry-run)' : ''}  ${place(policy.source)}`,
    )
    for (const rule of policy.rules)
      lines.push(
        `    rule[${rule.index}] ${rule.matched ? 'MATCHES' : 'no match'}  ${place(rule.source)}\n      ${rule.why}`,
      )
  }
  if (explanation.asks !== null) lines.push(`  would ask: ${explanation.asks}`)
  if (explanation.decidedBy !== null) lines.push(`  decided by: ${explanation.decidedBy}`)
  if (explanation.virtualHost !== null)
    lines.push(`  host: ${explanation.virtualHost.host}  ${place(explanation.virtualHost.source)}`)
  if (explanation.grant !== null)
    lines.push(`  egress policy: ${explanation.grant.name}  ${place(explanation.grant.source)}`)
  for (const route of explanation.routes)
    lines.push(`  route ${route.matched ? 'MATCHES' : 'no match'}  ${place(route.source)}\n      ${route.why}`)
  for (const line of explanation.does) lines.push(`      ${line}`)
  lines.push(...limitLines(explanation.limits, place))
  if (explanation.cluster !== null) lines.push(`  cluster: ${explanation.cluster}`)
  if (explanation.upstream !== null) lines.push(`  upstream: ${explanation.upstream}`)
  lines.push(`  → ${explanation.conclusion}${explanation.details === null ? '' : ` [${explanation.details}]`}`)
  return `${lines.join('\n')}\n`
}
