/** The tests' own clients in the place of workload and sidecar: HTTP/1.1 with every hop, and HTTP/2. */
import type { Socket } from 'node:net'
import { h2Over, h2Request, SIDECAR_H2_ALPN } from '../../src/testing/h2-client.ts'
import { meshConnect, plainConnect, SIDECAR_ALPN } from '../../src/testing/mesh-client.ts'
import { converse, seenOf } from './application.ts'
import { outboundSni, SIDECAR_TCP_ALPN } from './application-tls.ts'
import { type Caller, type CallerContext, contentOf, inMtls, type Row, type Seen } from './row.ts'

export const NODE_H1: Caller = {
  name: 'Node, HTTP/1.1',
  protocol: 'HTTP/1.1',
  sni: outboundSni,
  unspoken: {},
  start: async (context) => (row) => {
    const alpn = contentOf(row.hop) === 'http' ? SIDECAR_ALPN : SIDECAR_TCP_ALPN
    return converse(() => connectTo(context, row, alpn), row, context.siteCa)
  },
}

const NO_REQUEST = 'no request that could be HTTP/2: the same as with HTTP/1.1'

export const NODE_H2: Caller = {
  name: 'Node, HTTP/2',
  protocol: 'HTTP/2',
  sni: outboundSni,
  unspoken: { 'tls/mtls': NO_REQUEST, tls: NO_REQUEST, 'bytes/mtls': NO_REQUEST, bytes: NO_REQUEST },
  start: async (context) => (row) => h2Conversation(context, row),
}

async function connectTo({ harness }: CallerContext, row: Row, alpn: readonly string[]): Promise<Socket> {
  const port = harness.gateway.port(row.port)
  if (!inMtls(row.hop)) return plainConnect(port)
  return meshConnect({
    port,
    svid: row.from === null ? null : await harness.pki.svid(row.from),
    ca: harness.pki.root,
    servername: row.sni ?? outboundSni(row.port),
    alpn,
  })
}

async function h2Conversation(context: CallerContext, row: Row): Promise<Seen> {
  let connection: Socket
  try {
    connection = await connectTo(context, row, SIDECAR_H2_ALPN)
  } catch (error) {
    return seenOf(error)
  }
  const session = h2Over(connection)
  try {
    const { status, headers, body } = await h2Request(session, row.host, row.request)
    return status === 0 ? { kind: 'cut' } : { kind: 'answer', status, headers, body: body.toString() }
  } finally {
    session.destroy()
    connection.destroy()
  }
}
