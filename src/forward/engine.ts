/** What an HTTP/1.1 engine is (contract §10): it carries one complete request to one cluster. */
import type { UpstreamCluster } from './cluster.ts'
import type { ForwardHandle, ForwardHandlers, OutgoingRequest, Try } from './forwarder.ts'

export type Forwarder = {
  /**
   * Never throws. Counts everything in `cluster.stats` but `upstream_rq_timeout` (and the 504 that goes with it), which
   * only the caller can know of. `attempt`: this is one of several tries; without it the request is tried once.
   */
  send(
    cluster: UpstreamCluster,
    request: OutgoingRequest,
    handlers: ForwardHandlers,
    attempt?: Try | null,
  ): ForwardHandle
}
