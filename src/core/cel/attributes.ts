/**
 * TABLE of the attributes an expression may name, and their types (Envoy docs, arch_overview/advanced/attributes.rst).
 * observe/cel-attributes.ts has the reader of each; here they stand because configuration checks expressions by them.
 */

export type CelType = 'string' | 'int' | 'double' | 'bool' | 'null' | 'map' | 'list' | 'duration' | 'timestamp'

type AttributeRow = {
  readonly type: CelType
  readonly help: string
  /** Envoy knows it, this gateway has no value for it: it is always missing, and the load says so. */
  readonly noData?: true
}

const NO_DATA = { noData: true } as const

export const CEL_ATTRIBUTES = {
  'request.path': { type: 'string', help: 'Normalised path, with the query.' },
  'request.url_path': { type: 'string', help: 'Normalised path, without the query.' },
  'request.query': { type: 'string', help: 'The query, without `?`; "" when there is none.' },
  'request.host': { type: 'string', help: 'The authority, as judged.' },
  'request.scheme': { type: 'string', help: '`https` over TLS with the caller, else `http`.' },
  'request.method': { type: 'string', help: 'The method.' },
  'request.headers': { type: 'map', help: 'Request header fields; several of one name are joined by commas.' },
  'request.referer': { type: 'string', help: 'The header `referer`.' },
  'request.useragent': { type: 'string', help: 'The header `user-agent`.' },
  'request.time': { type: 'timestamp', help: 'When the request began.' },
  'request.id': { type: 'string', help: 'The header `x-request-id`.' },
  'request.protocol': { type: 'string', help: '`HTTP/1.0`, `HTTP/1.1` or `HTTP/2`.' },
  'request.duration': { type: 'duration', help: 'From the start to the last byte out.' },
  'request.size': { type: 'int', help: 'Bytes of the body.' },
  'request.total_size': { type: 'int', help: 'Bytes of the body and of the header fields.' },
  'response.code': { type: 'int', help: 'Status sent to the caller; missing when none was.' },
  'response.code_details': { type: 'string', help: 'Who answered, and why.' },
  'response.flags': { type: 'int', help: 'Response flags as Envoy’s bits; 0: none.' },
  'response.grpc_status': { type: 'int', help: 'gRPC status.' },
  'response.headers': { type: 'map', help: 'Response header fields, as sent to the caller.' },
  'response.trailers': { type: 'map', help: 'Response trailers.', ...NO_DATA },
  'response.size': { type: 'int', help: 'Bytes of the body.' },
  'response.total_size': { type: 'int', help: 'Bytes of the body and of the header fields.' },
  'response.backend_latency': { type: 'duration', help: 'How long the upstream took.' },
  'source.address': { type: 'string', help: 'Caller, `ip:port`.' },
  'source.port': { type: 'int', help: 'Caller’s port.' },
  'destination.address': { type: 'string', help: 'Our address, `ip:port`.' },
  'destination.port': { type: 'int', help: 'Our port: the one really bound.' },
  'connection.id': { type: 'int', help: 'Number of the connection.' },
  'connection.mtls': { type: 'bool', help: 'Whether the caller showed a certificate that was accepted.' },
  'connection.requested_server_name': { type: 'string', help: 'SNI of the outer ClientHello.' },
  'connection.tls_version': { type: 'string', help: 'TLS version with the caller.' },
  'connection.uri_san_peer_certificate': { type: 'string', help: 'First URI SAN of the caller’s certificate.' },
  'connection.dns_san_peer_certificate': { type: 'string', help: 'First DNS SAN of the caller’s certificate.' },
  'connection.subject_peer_certificate': { type: 'string', help: 'Subject of the caller’s certificate.' },
  'connection.sha256_peer_certificate_digest': { type: 'string', help: 'SHA-256 of the caller’s certificate.' },
  'connection.uri_san_local_certificate': { type: 'string', help: 'URI SAN of our certificate.', ...NO_DATA },
  'connection.dns_san_local_certificate': { type: 'string', help: 'DNS SAN of our certificate.', ...NO_DATA },
  'connection.subject_local_certificate': { type: 'string', help: 'Subject of our certificate.', ...NO_DATA },
  'connection.transport_failure_reason': { type: 'string', help: 'Why the handshake failed.', ...NO_DATA },
  'connection.termination_details': { type: 'string', help: 'Why the connection was ended.' },
  'upstream.address': { type: 'string', help: 'Address that was dialled, `ip:port`.' },
  'upstream.port': { type: 'int', help: 'Port that was dialled.' },
  'upstream.local_address': { type: 'string', help: 'Our end of the upstream connection, `ip:port`.' },
  'upstream.transport_failure_reason': { type: 'string', help: 'Why connecting or TLS failed.' },
  'upstream.request_attempt_count': { type: 'int', help: 'Times the request was tried.' },
  'upstream.tls_version': { type: 'string', help: 'TLS version to the upstream.', ...NO_DATA },
  'upstream.uri_san_peer_certificate': { type: 'string', help: 'URI SAN of the upstream.', ...NO_DATA },
  'upstream.dns_san_peer_certificate': { type: 'string', help: 'DNS SAN of the upstream.', ...NO_DATA },
  'upstream.subject_peer_certificate': { type: 'string', help: 'Subject of the upstream.', ...NO_DATA },
  'xds.cluster_name': { type: 'string', help: 'Name of the cluster, e.g. `outbound|443||edition.cnn.com`.' },
  'xds.route_name': { type: 'string', help: 'Name of the route.' },
  'xds.virtual_host_name': { type: 'string', help: 'Name of the virtual host.', ...NO_DATA },
  'xds.listener_direction': { type: 'int', help: '2: OUTBOUND, as at every gateway.' },
} as const satisfies Record<string, AttributeRow>

export type CelAttribute = keyof typeof CEL_ATTRIBUTES

export function celAttribute(name: string): AttributeRow | null {
  return Object.hasOwn(CEL_ATTRIBUTES, name) ? CEL_ATTRIBUTES[name as CelAttribute] : null
}
