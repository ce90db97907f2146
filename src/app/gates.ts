/**
 * TABLE of the gates of a configuration, in the contract's order (§4), and what they need that outlives a reload: key
 * sets, connections to authorizers and to Redis, buckets, blocks.
 */
import type { ClusterSet } from '../forward/clusters.ts'
import { createForwarder } from '../forward/dispatch.ts'
import type { Forwarder } from '../forward/engine.ts'
import { createWireForwarder } from '../forward/wire/forwarder.ts'
import { createBlockGate } from '../gates/blocks/gate.ts'
import { createExtAuthzGate } from '../gates/ext-authz/gate.ts'
import { JwtGate } from '../gates/jwt/gate.ts'
import { KeyStore } from '../gates/jwt/key-store.ts'
import { createLimitsGate } from '../gates/limits/gate.ts'
import { LimitServices } from '../gates/limits/services.ts'
import type { LimitStore } from '../gates/limits/store.ts'
import { SpanExporter } from '../gates/tracing/exporter.ts'
import { createTraceGate } from '../gates/tracing/gate.ts'
import type { GatewayModel } from '../model/gateway.ts'
import type { Log } from '../observe/log.ts'
import type { Gate, Gates } from '../runtime/gate.ts'
import { SharedState } from './shared-state.ts'

/** Lives as long as the process. */
export type GateServices = {
  readonly log: Log
  /** Keys that tokens are verified with. */
  readonly keys: KeyStore
  readonly limits: LimitServices
  readonly shared: SharedState
  /** What carries calls to authorizers: the engine that is not for choice, since nobody outside meets it. */
  readonly forwarder: Forwarder
  /** Where global limits are counted; null: nowhere, there is no spec.redis. */
  readonly limitStore: () => LimitStore | null
  readonly spans: SpanExporter
  /** Ends everything now. Idempotent. */
  close(): Promise<void>
}

/** `isSelf`: an address and port that this gateway listens on itself. */
export function createGateServices(log: Log, isSelf: (address: string, port: number) => boolean): GateServices {
  const limits = new LimitServices(log)
  const shared = new SharedState(log)
  const forwarder = createForwarder(createWireForwarder())
  const spans = new SpanExporter(forwarder, log)
  return {
    log,
    keys: new KeyStore(log, isSelf),
    limits,
    shared,
    forwarder,
    limitStore: () => shared.limitStore(),
    spans,
    close: async () => {
      limits.close()
      await spans.close()
      await shared.close()
    },
  }
}

/** `clusters`: of the configuration that the gate is for. */
type GateFactory = (model: GatewayModel, services: GateServices, clusters: ClusterSet) => Gate | null

/** A row makes its gate, or null where the configuration has no use for it. */
const BEFORE: readonly GateFactory[] = [
  (model, { forwarder, log }, clusters) =>
    createExtAuthzGate(model, { forwarder, log, cluster: (name) => clusters.get(name) }),
  ({ settings, tokenRules }, { keys }) => {
    const sources = keys.use(tokenRules, settings)
    return tokenRules.length === 0 ? null : new JwtGate(tokenRules, sources)
  },
]
const AFTER: readonly GateFactory[] = [(model, { limits, limitStore }) => createLimitsGate(model, limits, limitStore)]

/**
 * A block may come at any time, and is asked about only while there is one: without blocks the lists are as short as they
 * were. @throws an Error when a gate cannot be made; then the last good configuration stays
 */
export function createGates(model: GatewayModel, services: GateServices, clusters: ClusterSet): Gates {
  const { blocks } = services.shared
  services.shared.open(model.settings.redis)
  const made = (factories: readonly GateFactory[]) =>
    factories.map((factory) => factory(model, services, clusters)).filter((gate) => gate !== null)
  // First, so that what is blocked or refused leaves a span too.
  const trace = made([(_, { spans }) => createTraceGate(model, spans, (name) => clusters.get(name))])
  const others = made(BEFORE)
  const before = [...trace, ...others]
  const after = made(AFTER)
  const block = createBlockGate(blocks)
  const blockedBefore = [...trace, block, ...others]
  const blockedAfter = [block, ...after]
  return {
    get before() {
      return blocks.size === 0 ? before : blockedBefore
    },
    get after() {
      return blocks.size === 0 ? after : blockedAfter
    },
  }
}
