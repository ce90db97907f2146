/** The mesh's workload: opens mTLS connections to a contender as a sidecar would. */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import tls, { type SecureContext, type TLSSocket } from 'node:tls'
import { HOSTS, type World } from '../contenders/world.ts'

/** What a sidecar sends as outer SNI. */
export const OUTER_SNI = `outbound_.80_._.${HOSTS.plain}`

export type Caller = {
  /** `session`: of an earlier connection, to be resumed. @throws when the handshake fails */
  connect(port: number, session?: Buffer | null): Promise<TLSSocket>
}

export function createCaller({ callerFiles }: World): Caller {
  const secureContext: SecureContext = tls.createSecureContext({
    cert: readFileSync(callerFiles.certificateChain),
    key: readFileSync(callerFiles.privateKey),
    ca: readFileSync(callerFiles.trustBundle),
    minVersion: 'TLSv1.3',
  })
  return {
    connect: async (port, session = null) => {
      const socket = tls.connect({
        host: '127.0.0.1',
        port,
        secureContext,
        servername: OUTER_SNI,
        ALPNProtocols: ['http/1.1'],
        // A sidecar verifies the gateway's SPIFFE ID, not a name.
        checkServerIdentity: () => undefined,
        ...(session === null ? {} : { session }),
      })
      await once(socket, 'secureConnect')
      return socket
    },
  }
}
