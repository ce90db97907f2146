/**
 * Asks an `envoyExtAuthzGrpc` provider: `envoy.service.auth.v3.Authorization/Check`, one unary call over HTTP/2 (gRPC over
 * HTTP2: a message is a flag, four bytes of length, and itself). Status OK lets through, any other status refuses.
 */
import { type HeaderList, headerValue } from '../../core/attributes.ts'
import { isFieldValue, isHopByHop } from '../../core/headers.ts'
import type { ExtAuthzGrpcProvider } from '../../model/extension-providers.ts'
import { type CheckResponse, decodeCheckResponse, encodeCheckRequest, type HeaderOption } from './authorization-api.ts'
import type { Answer } from './call.ts'
import { isChangeable } from './header-changes.ts'
import type { Check } from './http-check.ts'
import { failed, type HeaderChange, type Verdict } from './verdict.ts'

const METHOD = '/envoy.service.auth.v3.Authorization/Check'
const PREFIX = 5

/** HeaderAppendAction (config/core/v3/base.proto). */
const ACTIONS = ['set', 'absent', 'set', 'replace'] as const

export function createGrpcCheck(provider: ExtAuthzGrpcProvider): Check {
  const { host, port } = provider.service
  const headers: HeaderList = [
    'host',
    `${host.includes(':') ? `[${host}]` : host}:${port}`,
    'content-type',
    'application/grpc',
    'te',
    'trailers',
    'grpc-timeout',
    `${Math.min(provider.timeoutMs, 99_999_999)}m`,
    'user-agent',
    'sallyport',
  ]
  const packAsBytes = provider.body?.packAsBytes === true
  return {
    request: (question) => ({
      method: 'POST',
      target: METHOD,
      headers,
      body: framed(encodeCheckRequest(question, packAsBytes)),
      connection: question.connection,
    }),
    verdict,
  }
}

function framed(message: Buffer): Buffer {
  const head = Buffer.alloc(PREFIX)
  head.writeUInt32BE(message.length, 1)
  return Buffer.concat([head, message])
}

function verdict({ status, headers, trailers, body }: Answer): Verdict {
  if (status !== 200) return failed(`it answered ${status}`)
  // "Trailers-only": the status stands in the head.
  const end = trailers ?? headers
  const grpcStatus = headerValue(end, 'grpc-status') ?? headerValue(headers, 'grpc-status')
  if (grpcStatus !== '0')
    return failed(`gRPC status ${grpcStatus ?? 'missing'}: ${headerValue(end, 'grpc-message') ?? ''}`)
  if (body.length < PREFIX || body[0] !== 0 || body.readUInt32BE(1) !== body.length - PREFIX)
    return failed('its answer is not one plain message')
  const response = decodeCheckResponse(body.subarray(PREFIX))
  return response === null ? failed('its answer is no CheckResponse') : judge(response)
}

function judge({ code, denied, ok }: CheckResponse): Verdict {
  // Envoy takes an empty message for "allowed"; who says nothing has not been understood.
  if (code === null && denied === null && ok === null) return failed('its answer is empty')
  if ((code ?? 0) !== 0 || denied !== null) {
    const status = denied?.status ?? 0
    return {
      kind: 'denied',
      status: status >= 200 && status <= 599 ? status : 403,
      headers: answerFields(denied?.headers ?? []),
      body: denied?.body ?? '',
    }
  }
  if (ok === null) return { kind: 'allowed', changes: [], remove: [], response: [] }
  if (ok.query) return failed('it wants the query changed, which is not supported')
  const changes: HeaderChange[] = []
  for (const option of ok.headers) {
    // It believes that it changes where the request goes, or how it is framed.
    if (!isChangeable(option.name)) return failed(`it wants ${option.name} changed, which is not its to change`)
    changes.push({ name: option.name, value: option.value, how: howOf(option) })
  }
  return { kind: 'allowed', changes, remove: ok.remove, response: answerFields(ok.response) }
}

/** `append` counts where it is there (external_auth.proto: it defaults to false in this message). */
function howOf({ append, action }: HeaderOption): HeaderChange['how'] {
  if (append !== null) return append ? 'append' : 'set'
  return ACTIONS[action] ?? 'set'
}

/** Of an answer of ours: framing and identity stay our own. */
function answerFields(options: readonly HeaderOption[]): string[] {
  const fields: string[] = []
  for (const { name, value } of options) if (isAnswerField(name) && isFieldValue(value)) fields.push(name, value)
  return fields
}

function isAnswerField(name: string): boolean {
  return (
    /^[!#$%&'*+.^_`|~0-9a-z-]+$/.test(name) &&
    !isHopByHop(name) &&
    !['__proto__', 'host', 'content-length', 'server', 'date', 'x-sallyport-reason'].includes(name)
  )
}
