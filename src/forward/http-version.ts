/** Which HTTP version a request leaves in: a matter of its cluster, and with `useClientProtocol` of its caller. */
import type { ClusterModel } from '../model/cluster.ts'
import type { OutgoingRequest } from './forwarder.ts'

export function speaksHttp2(
  { protocol }: Pick<ClusterModel, 'protocol'>,
  clientProtocol: OutgoingRequest['clientProtocol'],
): boolean {
  return protocol === 'http2' || (protocol === 'client' && clientProtocol === 'HTTP/2')
}
