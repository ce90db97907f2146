/**
 * The messages of `envoy.service.auth.v3.Authorization/Check` that this gateway writes and reads, by Envoy's published
 * field numbers (envoy api/envoy/service/auth/v3/{external_auth,attribute_context}.proto, config/core/v3/{address,base}.proto,
 * type/v3/http_status.proto, google/rpc/status.proto).
 */
import type { Peer } from '../../core/attributes.ts'
import { targetText } from '../../core/request-target.ts'
import { type Field, MessageWriter, readMessage } from './protobuf.ts'
import { checkedFields, PARTIAL_BODY, type Question } from './question.ts'

/** A CheckRequest. `packAsBytes`: the body in `raw_body` in place of `body`. */
export function encodeCheckRequest(question: Question, packAsBytes: boolean): Buffer {
  const { attributes, connection, record } = question
  return new MessageWriter()
    .message(1, (context) => {
      context.message(1, (source) => {
        source.message(1, address(connection.remoteAddress, connection.remotePort))
        source.text(4, principal(attributes.peer))
      })
      context.message(2, (destination) =>
        destination.message(1, address(connection.localAddress, connection.localPort)),
      )
      context.message(4, (request) => {
        request.message(1, (time) =>
          time.varint(1, Math.floor(record.startedAt / 1000)).varint(2, (record.startedAt % 1000) * 1_000_000),
        )
        if (attributes.http !== null) request.message(2, (http) => writeHttp(http, question, packAsBytes))
      })
      const { sni } = attributes
      if (sni !== null) context.message(12, (tls) => tls.text(1, sni))
    })
    .finish()
}

function address(host: string, port: number): (message: MessageWriter) => void {
  return (message) => message.message(1, (socket) => socket.text(2, host).varint(3, port))
}

/** As Envoy: the URI SAN, else a DNS SAN, else the subject. */
function principal(peer: Peer): string {
  if (peer.kind === 'none') return ''
  const { uriSans, dnsSans, subject } = peer.certificate
  return uriSans[0] ?? dnsSans[0] ?? subject
}

function writeHttp(message: MessageWriter, question: Question, packAsBytes: boolean): void {
  const { attributes, body, record } = question
  const { http } = attributes
  if (http === null) return
  const target = targetText(http)
  message.text(1, record.requestId ?? '').text(2, http.method)
  const fields = new Map<string, string>([
    [':authority', http.authority.text],
    [':method', http.method],
    [':path', target],
    [':scheme', http.scheme],
  ])
  const headers = checkedFields(question, http)
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string
    const value = headers[i + 1] as string
    const before = fields.get(name)
    fields.set(name, before === undefined ? value : `${before},${value}`)
  }
  if (body !== null) fields.set(PARTIAL_BODY, String(!body.whole))
  for (const [name, value] of fields) message.entry(3, name, utf8(value))
  message.text(4, target).text(5, http.authority.text).text(6, http.scheme)
  message.varint(9, contentLength(http.headers))
  message.text(10, record.protocol ?? '')
  if (body === null || body.bytes.length === 0) return
  if (packAsBytes) message.bytes(12, body.bytes)
  else message.text(11, body.bytes.toString('utf8'))
}

/** Field values came as one character per byte; text of protobuf is UTF-8. */
function utf8(value: string): string {
  return /^[\x20-\x7e]*$/.test(value) ? value : Buffer.from(value, 'latin1').toString('utf8')
}

/** -1: not known. */
function contentLength(headers: readonly string[]): number {
  const at = headers.findIndex((name, i) => i % 2 === 0 && name === 'content-length')
  return at === -1 ? -1 : Number(headers[at + 1])
}

/** HeaderValueOption. `append` null: not said. `action`: HeaderAppendAction, 0 to 3. */
export type HeaderOption = {
  readonly name: string
  readonly value: string
  readonly append: boolean | null
  readonly action: number
}

export type CheckResponse = {
  /** google.rpc.Status; null: not there. */
  readonly code: number | null
  readonly denied: { readonly status: number; readonly headers: readonly HeaderOption[]; readonly body: string } | null
  readonly ok: {
    readonly headers: readonly HeaderOption[]
    readonly remove: readonly string[]
    readonly response: readonly HeaderOption[]
    /** It wants the query changed. */
    readonly query: boolean
  } | null
}

/** null: not a CheckResponse. Of a message that stands there several times the last one counts; dynamic metadata is passed over. */
export function decodeCheckResponse(bytes: Buffer): CheckResponse | null {
  try {
    const fields = open(bytes)
    const last = (field: number) => fields.findLast((each) => each.field === field && each.wire === 2)?.bytes ?? null
    const status = last(1)
    const denied = last(2)
    const ok = last(3)
    return {
      code: status === null ? null : numberOf(open(status), 1),
      denied: denied === null ? null : readDenied(open(denied)),
      ok: ok === null ? null : readOk(open(ok)),
    }
  } catch (error) {
    if (error instanceof BrokenMessage) return null
    throw error
  }
}

class BrokenMessage extends Error {}

function open(bytes: Buffer): readonly Field[] {
  const fields = readMessage(bytes)
  if (fields === null) throw new BrokenMessage()
  return fields
}

function numberOf(fields: readonly Field[], field: number): number {
  return fields.findLast((each) => each.field === field && each.wire === 0)?.number ?? 0
}

function textOf(fields: readonly Field[], field: number): string {
  return fields.findLast((each) => each.field === field && each.wire === 2)?.bytes.toString('utf8') ?? ''
}

function messagesOf(fields: readonly Field[], field: number): Field[] {
  return fields.filter((each) => each.field === field && each.wire === 2)
}

function readDenied(fields: readonly Field[]): NonNullable<CheckResponse['denied']> {
  const status = messagesOf(fields, 1).at(-1)
  return {
    status: status === undefined ? 0 : numberOf(open(status.bytes), 1),
    headers: messagesOf(fields, 2).map(readOption),
    body: textOf(fields, 3),
  }
}

function readOk(fields: readonly Field[]): NonNullable<CheckResponse['ok']> {
  return {
    headers: messagesOf(fields, 2).map(readOption),
    remove: messagesOf(fields, 5).map(({ bytes }) => bytes.toString('utf8').toLowerCase()),
    response: messagesOf(fields, 6).map(readOption),
    query: fields.some(({ field }) => field === 7 || field === 8),
  }
}

function readOption({ bytes }: Field): HeaderOption {
  const fields = open(bytes)
  const header = open(messagesOf(fields, 1).at(-1)?.bytes ?? Buffer.alloc(0))
  const raw = messagesOf(header, 3).at(-1)
  const append = messagesOf(fields, 2).at(-1)
  return {
    name: textOf(header, 1).toLowerCase(),
    value: raw === undefined || raw.bytes.length === 0 ? latin1(textOf(header, 2)) : raw.bytes.toString('latin1'),
    append: append === undefined ? null : numberOf(open(append.bytes), 1) !== 0,
    action: numberOf(fields, 3),
  }
}

/** The way back. */
function latin1(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1')
}
