/** What an authorizer is asked about, and what it may know of the request's fields. */
import type { Attributes, Connection, HeaderList, HttpAttributes, Peer } from '../../core/attributes.ts'
import { isHopByHop, isMeshHeader } from '../../core/headers.ts'
import type { ExchangeRecord } from '../../observe/record.ts'

/** The beginning of the body. `whole`: there is no more of it. */
export type BodyPart = { readonly bytes: Buffer; readonly whole: boolean }

export type Question = {
  readonly connection: Connection
  readonly attributes: Attributes
  readonly record: Pick<ExchangeRecord, 'startedAt' | 'requestId' | 'xForwardedFor' | 'protocol'>
  /** null: the authorizer is not given any. */
  readonly body: BodyPart | null
}

/** Envoy's, with every check that carries a body: whether it is only a part. */
export const PARTIAL_BODY = 'x-envoy-auth-partial-body'

/**
 * The request's fields as an authorizer may see them: what callers say of themselves in the mesh's own fields is left out
 * (it does not leave this gateway either), and what the gateway says there is added: x-request-id, x-forwarded-for,
 * x-forwarded-proto, and x-forwarded-client-cert for a caller whose certificate has been verified.
 */
export function checkedFields({ attributes, record }: Question, http: HttpAttributes): HeaderList {
  const fields: string[] = []
  const { headers } = http
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string
    if (isHopByHop(name) || isMeshHeader(name) || OURS.has(name)) continue
    fields.push(name, headers[i + 1] as string)
  }
  if (record.requestId !== null) fields.push('x-request-id', record.requestId)
  if (record.xForwardedFor !== null) fields.push('x-forwarded-for', record.xForwardedFor)
  fields.push('x-forwarded-proto', http.scheme)
  const client = clientCertificate(attributes.peer)
  if (client !== null) fields.push('x-forwarded-client-cert', client)
  return fields
}

const OURS: ReadonlySet<string> = new Set(['host', 'content-length', 'x-request-id'])

/** Envoy's XFCC element of a verified caller, without the certificate itself. */
function clientCertificate(peer: Peer): string | null {
  if (peer.kind === 'none') return null
  const { sha256, subject, uriSans, dnsSans } = peer.certificate
  const parts = [`Hash=${sha256}`, `Subject="${quoted(subject)}"`]
  for (const uri of uriSans) parts.push(`URI=${/[,;="]/.test(uri) ? `"${quoted(uri)}"` : uri}`)
  for (const name of dnsSans) parts.push(`DNS=${/[,;="]/.test(name) ? `"${quoted(name)}"` : name}`)
  return parts.join(';').replaceAll(/[^\x20-\x7e]/g, '?')
}

function quoted(text: string): string {
  return text.replaceAll(/["\\]/g, (each) => `\\${each}`)
}
