/**
 * TABLE of port protocols (istio pkg/config/protocol). `http`: requests are judged; `tls`: the application's own TLS,
 * opaque but with an SNI; `tcp`: opaque bytes without a name; `udp`: parsed by Istio, carried by nobody.
 */
export const SERVICE_PROTOCOLS = {
  HTTP: { family: 'http', http2: false },
  HTTP2: { family: 'http', http2: true },
  GRPC: { family: 'http', http2: true },
  'GRPC-WEB': { family: 'http', http2: false },
  HTTP_PROXY: { family: 'tcp', http2: false },
  HTTPS: { family: 'tls', http2: false },
  TLS: { family: 'tls', http2: false },
  TCP: { family: 'tcp', http2: false },
  MONGO: { family: 'tcp', http2: false },
  REDIS: { family: 'tcp', http2: false },
  MYSQL: { family: 'tcp', http2: false },
  UDP: { family: 'udp', http2: false },
} as const satisfies Record<string, { family: 'http' | 'tls' | 'tcp' | 'udp'; http2: boolean }>

export type ServiceProtocol = keyof typeof SERVICE_PROTOCOLS

/** The protocol a text names, in any case; null when it names none. */
export function parseServiceProtocol(text: string): ServiceProtocol | null {
  const name = text.toUpperCase()
  return Object.hasOwn(SERVICE_PROTOCOLS, name) ? (name as ServiceProtocol) : null
}
