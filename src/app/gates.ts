/**
 * TABLE of the gates of a configuration, in the contract's order (§4), and what they need that outlives a reload: key
 * sets, connections to authorizers and to Redis, buckets, blocks.
 */
import type { GatewayModel } from '../model/gateway.ts'
import type { Log } from '../observe/log.ts'
import type { Gate, Gates } from '../runtime/gate.ts'

/** Lives as long as the process. */
export type GateServices = {
  readonly log: Log
  /** Ends everything now. Idempotent. */
  close(): void
}

export function createGateServices(log: Log): GateServices {
  return { log, close: () => undefined }
}

type GateFactory = (model: GatewayModel, services: GateServices) => Gate | null

/** A row makes its gate, or null where the configuration has no use for it. */
const BEFORE: readonly GateFactory[] = []
const AFTER: readonly GateFactory[] = []

/** @throws an Error when a gate cannot be made; then the last good configuration stays */
export function createGates(model: GatewayModel, services: GateServices): Gates {
  const made = (factories: readonly GateFactory[]) =>
    factories.map((factory) => factory(model, services)).filter((gate) => gate !== null)
  return { before: made(BEFORE), after: made(AFTER) }
}
