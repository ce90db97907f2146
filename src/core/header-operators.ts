/**
 * TABLE of the command operators that header values of VirtualServices may hold (Envoy, config_http_conn_man_headers and
 * access_log/usage.rst; behaviour §8.8), and the reader of such values. Text becomes parts at load; routing/header-values.ts
 * fills them in. Operators of Envoy's without a row here have no data in this gateway, or (ENVIRONMENT) would let whoever
 * writes a VirtualService read what is the gateway's own.
 */
import { compileTimeFormat, isoTime, TimeFormatError } from './time-format.ts'

export type HeaderOperatorRow = {
  readonly help: string
  /** What may stand in parentheses. `headers`: one header name, or two as `X?Y`. `time`: a strftime format, or nothing. */
  readonly argument: 'none' | 'headers' | 'time'
  /** `response`: known only once there is an answer, so of no use in a request. */
  readonly where: 'both' | 'response'
}

const both = (help: string): HeaderOperatorRow => ({ help, argument: 'none', where: 'both' })
const response = (help: string): HeaderOperatorRow => ({ help, argument: 'none', where: 'response' })

export const HEADER_OPERATORS = {
  REQ: {
    help: 'A header of the request as the caller sent it, or a second one if it is missing: REQ(X?Y):MAX.',
    argument: 'headers',
    where: 'both',
  },
  RESP: { help: 'A header of the response, as REQ.', argument: 'headers', where: 'response' },
  START_TIME: { help: 'When the request began; UTC.', argument: 'time', where: 'both' },
  PROTOCOL: both('HTTP/1.0, HTTP/1.1 or HTTP/2.'),
  HOSTNAME: both('Name of the host of the gateway.'),
  ROUTE_NAME: both('Name of the route.'),
  UPSTREAM_CLUSTER: both('Name of the cluster.'),
  UPSTREAM_CLUSTER_RAW: both('Name of the cluster.'),
  REQUEST_ID: both('As REQ(X-REQUEST-ID).'),
  STREAM_ID: both('As REQ(X-REQUEST-ID).'),
  CONNECTION_ID: both('Number of the connection.'),
  REQUESTED_SERVER_NAME: both('SNI of the ClientHello.'),
  DOWNSTREAM_REMOTE_ADDRESS: both('Caller (no proxy in front is trusted).'),
  DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT: both('Caller, IP only.'),
  DOWNSTREAM_REMOTE_PORT: both("Caller's port."),
  DOWNSTREAM_DIRECT_REMOTE_ADDRESS: both('Caller.'),
  DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT: both('Caller, IP only.'),
  DOWNSTREAM_DIRECT_REMOTE_PORT: both("Caller's port."),
  DOWNSTREAM_LOCAL_ADDRESS: both('Our address and port.'),
  DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT: both('Our address.'),
  DOWNSTREAM_LOCAL_PORT: both('Our port.'),
  DOWNSTREAM_PEER_URI_SAN: both("URI SANs of the caller's certificate."),
  DOWNSTREAM_PEER_DNS_SAN: both("DNS SANs of the caller's certificate."),
  DOWNSTREAM_PEER_SUBJECT: both("Subject of the caller's certificate."),
  DOWNSTREAM_PEER_ISSUER: both("Issuer of the caller's certificate."),
  DOWNSTREAM_PEER_SERIAL: both("Serial number of the caller's certificate."),
  DOWNSTREAM_PEER_FINGERPRINT_256: both("SHA-256 of the caller's certificate."),
  DOWNSTREAM_PEER_CERT_V_START: {
    help: "notBefore of the caller's certificate; UTC.",
    argument: 'time',
    where: 'both',
  },
  DOWNSTREAM_PEER_CERT_V_END: { help: "notAfter of the caller's certificate; UTC.", argument: 'time', where: 'both' },
  DOWNSTREAM_TLS_VERSION: both('TLS version with the caller.'),
  DOWNSTREAM_TLS_CIPHER: both('TLS cipher with the caller.'),
  RESPONSE_CODE: response('Status sent to the caller.'),
  RESPONSE_CODE_DETAILS: response('Who answered, and why.'),
  RESPONSE_FLAGS: response('Short codes, joined by commas; `-`: none.'),
  BYTES_RECEIVED: response('Body bytes from the caller so far.'),
  REQUEST_DURATION: response('Milliseconds until the request was read.'),
  RESPONSE_DURATION: response('Milliseconds until the head of the response.'),
  UPSTREAM_HOST: response('Address that was dialled.'),
  UPSTREAM_REMOTE_ADDRESS: response('As UPSTREAM_HOST.'),
  UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT: response('As UPSTREAM_HOST, IP only.'),
  UPSTREAM_REMOTE_PORT: response('Port that was dialled.'),
  UPSTREAM_LOCAL_ADDRESS: response('Our end of the upstream connection.'),
  UPSTREAM_PROTOCOL: response('Protocol spoken to the upstream.'),
  UPSTREAM_REQUEST_ATTEMPT_COUNT: response('Times the request was sent.'),
} as const satisfies Record<string, HeaderOperatorRow>

export type HeaderOperatorName = keyof typeof HEADER_OPERATORS

/** One operator of a value: `%NAME(ARGUMENT?ALTERNATIVE):MAX%`. Header names in lower case. */
export type HeaderOperator = {
  readonly operator: HeaderOperatorName
  readonly argument: string | null
  readonly alternative: string | null
  readonly maxLength: number | null
}

/** A header value that is refused; the message says why and where. */
export class HeaderValueError extends Error {
  override readonly name = 'HeaderValueError'
}

const OPERATOR = /%([A-Z][A-Z0-9_]*)(?:\(([^)]*)\))?(?::([0-9]{1,5}))?%/y
/** RFC 9110 §5.6.2; pseudo headers as Envoy names them. */
const FIELD = /^(?:[!#$%&'*+.^_`|~0-9a-z-]+|:method|:path|:authority|:scheme|:status)$/

/**
 * Text as it stands in the YAML → plain text (with `%%` read as `%`), or text and operators in turn.
 * @throws HeaderValueError for an unknown operator, a stray `%`, or an operator that is not known yet in a request
 */
export function parseHeaderValue(
  text: string,
  direction: 'request' | 'response',
): string | readonly (string | HeaderOperator)[] {
  const parts: (string | HeaderOperator)[] = []
  const literal = (piece: string) => {
    const last = parts.at(-1)
    if (typeof last === 'string') parts[parts.length - 1] = last + piece
    else parts.push(piece)
  }
  for (let i = 0; i < text.length; ) {
    if (text[i] !== '%') {
      const next = text.indexOf('%', i)
      const end = next === -1 ? text.length : next
      literal(text.slice(i, end))
      i = end
    } else if (text[i + 1] === '%') {
      literal('%')
      i += 2
    } else {
      OPERATOR.lastIndex = i
      const found = OPERATOR.exec(text)
      if (found === null)
        throw new HeaderValueError(`column ${i + 1}: "%" starts no operator; a percent sign is written %%`)
      const [whole, name = '', argument, length] = found
      parts.push(operatorOf(name, argument, length, direction))
      i += whole.length
    }
  }
  const [only = '', ...more] = parts
  return typeof only === 'string' && more.length === 0 ? only : parts
}

function operatorOf(
  name: string,
  argument: string | undefined,
  length: string | undefined,
  direction: 'request' | 'response',
): HeaderOperator {
  if (!isOperator(name)) throw new HeaderValueError(`%${name}% is no operator that can be used in headers here`)
  const row = HEADER_OPERATORS[name]
  if (row.where === 'response' && direction === 'request')
    throw new HeaderValueError(`%${name}% is not known before there is a response`)
  const rest = { operator: name, maxLength: length === undefined ? null : Number(length) }
  if (row.argument === 'headers') {
    const [first = '', second, ...more] = (argument ?? '').toLowerCase().split('?')
    if (!FIELD.test(first) || (second !== undefined && !FIELD.test(second)) || more.length > 0)
      throw new HeaderValueError(`%${name}(${argument ?? ''})%: write one header name, or two as NAME?ALTERNATIVE`)
    return { ...rest, argument: first, alternative: second ?? null }
  }
  if (argument !== undefined && argument !== '' && row.argument === 'none')
    throw new HeaderValueError(`%${name}% takes no argument`)
  if (row.argument === 'time' && argument !== undefined) timePrinter(argument)
  return { ...rest, argument: argument === undefined || argument === '' ? null : argument, alternative: null }
}

function isOperator(name: string): name is HeaderOperatorName {
  return Object.hasOwn(HEADER_OPERATORS, name)
}

/** Compiled when a value is read at load, so that a request only looks them up. */
const printers = new Map<string, (ms: number) => string>()

/** Prints wall clock milliseconds; '' is ISO 8601. @throws HeaderValueError for a format that cannot be compiled */
export function timePrinter(format: string): (ms: number) => string {
  const known = printers.get(format)
  if (known !== undefined) return known
  try {
    const print = format === '' ? isoTime() : compileTimeFormat(format)
    printers.set(format, print)
    return print
  } catch (error) {
    if (error instanceof TimeFormatError) throw new HeaderValueError(error.message)
    throw error
  }
}
