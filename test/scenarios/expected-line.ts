/** The access-log line that a row must leave: what follows from the row itself, then what the row says. */
import { type Caller, contentOf, inMtls, type Row } from './row.ts'

/** @param upstream `address:port` of the site it reaches */
export function expectedLine(row: Row, caller: Caller, upstream: string | null): Readonly<Record<string, unknown>> {
  const { from, hop, host, gets, request } = row
  const content = contentOf(hop)
  const answered = content === 'http' && typeof gets === 'object' ? gets : null
  // Whoever does not trust the certificate hangs up; whether its alert is read before that is a race.
  const mayReset = gets === 'another certificate' || (content === 'tls' && caller.hurries === true)
  return {
    method: answered === null ? null : (request?.method ?? 'GET'),
    path: answered === null ? null : (request?.path ?? '/'),
    protocol: answered === null ? null : caller.protocol,
    authority: answered === null ? null : host,
    response_code: answered?.status ?? 0,
    response_flags: mayReset ? oneOf('DC', '-') : '-',
    user_agent: answered === null ? null : (request?.headers?.['user-agent'] ?? ANY),
    x_forwarded_for: answered === null ? null : '127.0.0.1',
    upstream_host: upstream,
    requested_server_name: requestedServerName(row, caller),
    inner_server_name: hop === 'tls/mtls' ? host : null,
    downstream_peer_uri_san: from === null ? null : `spiffe://cluster.local/ns/${from.replace('/', '/sa/')}`,
    source_namespace: from === null ? null : from.slice(0, from.indexOf('/')),
    authz_decision: 'none',
    authz_policy: null,
    reason: null,
    ...row.line,
  }
}

/** Any value will do: callers that are told nothing say what they like. */
export const ANY = Symbol('any value')

type OneOf = { readonly values: readonly unknown[] }

function oneOf(...values: readonly unknown[]): OneOf {
  return { values }
}

function isOneOf(value: unknown): value is OneOf {
  return typeof value === 'object' && value !== null && 'values' in value
}

/** The differences, one text each; none: it is the line that was expected. */
export function lineProblems(
  line: Readonly<Record<string, unknown>>,
  expected: Readonly<Record<string, unknown>>,
): string[] {
  return Object.entries(expected)
    .filter(([, value]) => value !== ANY)
    .filter(([field, value]) => !(isOneOf(value) ? value.values : [value]).includes(line[field]))
    .map(([field, value]) => `${field}: ${JSON.stringify(line[field])}, expected ${JSON.stringify(value)}`)
}

function requestedServerName({ hop, host, port, sni }: Row, caller: Caller): string | null {
  if (inMtls(hop)) return sni ?? caller.sni(port)
  return hop === 'tls' && host !== '' ? host : null
}
