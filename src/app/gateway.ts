/** Composition root: one running gateway. Start, reload (all or nothing), drain, end. Everything it opens it closes. */
import { randomBytes } from 'node:crypto'
import type { Socket } from 'node:net'
import { type ConfigurationWatcher, watchConfiguration } from '../config/watch.ts'
import { createForwarder } from '../forward/dispatch.ts'
import { createSelfCheck } from '../forward/self.ts'
import { enforceBlocks } from '../gates/blocks/gate.ts'
import type { BoundPort } from '../listeners/bound-port.ts'
import { httpConnections } from '../listeners/connection.ts'
import type { Environment } from '../listeners/environment.ts'
import type { Http1Server } from '../listeners/http1.ts'
import { endMalformed } from '../listeners/malformed.ts'
import { Mirrors } from '../listeners/mirror.ts'
import { startExchange } from '../listeners/start-exchange.ts'
import type { Endpoint } from '../model/settings.ts'
import type { Log } from '../observe/log.ts'
import type { Metrics } from '../observe/metrics.ts'
import type { ExchangeRecord } from '../observe/record.ts'
import { Connections } from '../runtime/connections.ts'
import { Lifecycle } from '../runtime/lifecycle.ts'
import type { Snapshot } from '../runtime/snapshot.ts'
import { Tunnels } from '../runtime/tunnels.ts'
import { AccessLog } from './access-log.ts'
import { Audit } from './audit.ts'
import { prepareCandidate } from './candidate.ts'
import { type ControlServers, startControlServers } from './control.ts'
import { ENGINES } from './engines.ts'
import { createGateServices, type GateServices } from './gates.ts'
import { measure } from './measure.ts'
import { Ports } from './ports.ts'
import { type LastReload, type ReloadResult, Reloads } from './reloads.ts'
import type { SharedState } from './shared-state.ts'
import { StartError } from './start-error.ts'
import { Terminators } from './terminators.ts'

const NO_ENDPOINTS: readonly Endpoint[] = []

export type GatewayOptions = {
  readonly configFile: string
  readonly log: Log
  /** Reload when a file changes; default true. */
  readonly watch?: boolean
}

export class Gateway {
  readonly #log: Log
  readonly #lifecycle = new Lifecycle()
  readonly #connections = new Connections()
  readonly #tunnels = new Tunnels()
  readonly #terminators = new Terminators()
  readonly #ports = new Ports()
  readonly #accessLog: AccessLog
  readonly #audit: Audit
  readonly #environment: Environment
  readonly #http1: Http1Server
  readonly #metrics: Metrics
  readonly #services: GateServices
  #active: Snapshot
  #control: ControlServers | null = null
  #watcher: ConfigurationWatcher | null = null
  readonly #reloads: Reloads
  #ended: Promise<void> | null = null
  /** What POST /quitquitquit does; the signal handlers set it. */
  onQuit: () => void = () => void this.close()

  /** Starts a gateway. @throws StartError when the configuration is refused or a port cannot be bound */
  static async start(options: GatewayOptions): Promise<Gateway> {
    const self: { gateway: Gateway | null } = { gateway: null }
    // Before the first load: a change that comes while we read must not be missed.
    const watcher =
      options.watch === false ? null : watchConfiguration([options.configFile], () => void self.gateway?.reload())
    const isSelf = createSelfCheck(() => self.gateway?.boundEndpoints() ?? [])
    const services = createGateServices(options.log, isSelf)
    const candidate = prepareCandidate({
      configFile: options.configFile,
      active: null,
      isSelf,
      now: Date.now(),
      services,
    })
    if (candidate.kind !== 'ready') {
      watcher?.close()
      throw new StartError(candidate.kind === 'rejected' ? candidate.errors : ['internal error: nothing to start from'])
    }
    for (const warning of candidate.warnings) options.log.warning(warning)
    const gateway = new Gateway(options, candidate.snapshot, isSelf, services)
    gateway.#watcher = watcher
    self.gateway = gateway
    try {
      gateway.#audit.open(candidate.snapshot.settings, candidate.snapshot, candidate.inventory)
      await services.shared.ready()
      await gateway.#activate(candidate.snapshot)
      gateway.#control = await startControlServers(gateway)
    } catch (error) {
      await gateway.destroy()
      throw error instanceof StartError
        ? error
        : new StartError([error instanceof Error ? error.message : String(error)])
    }
    gateway.#lifecycle.ready()
    watcher?.update(candidate.files)
    return gateway
  }

  private constructor(
    options: GatewayOptions,
    first: Snapshot,
    isSelf: (address: string, port: number) => boolean,
    services: GateServices,
  ) {
    this.#services = services
    this.#log = options.log
    this.#active = first
    services.shared.blocks.onChange(() => enforceBlocks(services.shared.blocks, this.#tunnels, this.#connections))
    this.#audit = new Audit(options.log)
    this.#audit.onFailing = (failing) => this.#lifecycle.failAudit(failing)
    this.#audit.onFull = () => this.#connections.drain()
    services.shared.blocks.onEach((event, block) => this.#audit.event(event, { block }))
    this.#reloads = new Reloads({
      prepare: (active) =>
        prepareCandidate({ configFile: options.configFile, active, isSelf, now: Date.now(), services }),
      active: () => this.#active,
      activate: async (next) => this.#activate(next),
      read: (files) => this.#watcher?.update(files),
      draining: () => this.#lifecycle.draining,
      log: options.log,
      audit: this.#audit,
    })
    this.#accessLog = new AccessLog((error) => this.#log.error(`access log: ${error.message}`))
    this.#metrics = measure({
      active: () => this.#active,
      listeners: () => this.#ports.stats,
      accessLogDropped: () => this.#accessLog.dropped,
      auditFailed: () => this.#audit.failing,
      spans: services.spans,
      limits: services.limits.counts,
      openConnections: () => this.#connections.size,
      openTunnels: () => this.#tunnels.size,
      lastReload: () => this.lastReload,
      shared: services.shared,
      keys: services.keys,
    })
    const engine = ENGINES[first.settings.http.engine]
    this.#http1 = engine.server(first.settings.http, {
      request: (socket: Socket, downstream) => {
        const http = httpConnections.get(socket)
        return http === undefined ? null : startExchange(this.#environment, http, downstream)
      },
      malformed: (socket, kind, code) => endMalformed(this.#environment, socket, kind, code),
    })
    const forwarder = createForwarder(engine.forwarder())
    this.#environment = {
      active: () => this.#active,
      forwarder,
      instance: `sallyport-${randomBytes(4).toString('hex')}`,
      connections: this.#connections,
      tunnels: this.#tunnels,
      mirrors: new Mirrors(forwarder),
      finish: (record) => this.#finish(record),
      refusedConnection: (reason) => this.#metrics.connectionRefused(reason),
      // Nobody may be refused whose refusal could not be kept: the door is shut until there is room.
      draining: () => this.#lifecycle.draining || this.#audit.full,
      cutting: () => this.#lifecycle.cutting,
      terminator: (plan) => this.#terminators.get(plan),
      http1: this.#http1,
      warn: (message, fields) => this.#log.warning(message, fields),
    }
  }

  get active(): Snapshot {
    return this.#active
  }

  get lifecycle(): Lifecycle {
    return this.#lifecycle
  }

  get metrics(): Metrics {
    return this.#metrics
  }

  get log(): Log {
    return this.#log
  }

  get shared(): SharedState {
    return this.#services.shared
  }

  get lastReload(): LastReload {
    return this.#reloads.last
  }

  get boundPorts(): readonly BoundPort[] {
    return this.#ports.bound
  }

  /** Where admin, metrics and health really listen. */
  get control(): ControlServers | null {
    return this.#control
  }

  /** The port really bound for a Gateway port. @throws when that port is not served */
  port(gatewayPort: number): number {
    return this.#ports.port(gatewayPort)
  }

  /** Every address and port this process listens on: dialling them would be a loop. */
  boundEndpoints(): readonly Endpoint[] {
    return this.#ports.endpoints(this.#active.settings.bindAddress, this.#control?.endpoints ?? NO_ENDPOINTS)
  }

  /** Loads the files again; any error keeps what runs. Never rejects. */
  async reload(): Promise<ReloadResult> {
    return this.#reloads.reload()
  }

  /** Everything that can fail first, then the swap, then letting go of the old. */
  async #activate(next: Snapshot): Promise<void> {
    const previous = this.#active === next ? null : this.#active
    this.#terminators.prepare(next)
    const sinks = this.#accessLog.prepare(next)
    let fresh: readonly BoundPort[]
    try {
      fresh = await this.#ports.bindMissing(next, this.#environment)
    } catch (error) {
      await this.#accessLog.discard(sinks)
      throw error
    }
    this.#ports.adopt(fresh)
    this.#active = next
    this.#accessLog.adopt(sinks, next)
    this.#metrics.configure(next.model.telemetry.metrics)
    this.#http1.apply(next.settings.http)
    this.#ports.releaseUnused(next)
    previous?.clusters.retire()
    this.#terminators.keepOnly(next)
    this.#tunnels.judgeAgain(next, () => this.#active)
    // The end, or /drain_listeners, may have come before this or while we were binding.
    if (!this.#lifecycle.listening) this.#ports.close()
  }

  #finish(record: ExchangeRecord): void {
    this.#metrics.record(record)
    this.#accessLog.write(record)
    this.#audit.record(record)
  }

  /** Stops accepting for good and fails readiness, as POST /drain_listeners does; the process goes on. */
  drainListeners(): void {
    this.#lifecycle.stopListening()
    this.#ports.close()
  }

  /** Finishes what runs, for at most `drainDuration`, then ends. Idempotent: later calls wait for the first. */
  async close(): Promise<void> {
    this.#lifecycle.drain()
    this.#ended ??= this.#drain()
    return this.#ended
  }

  async #drain(): Promise<void> {
    this.#watcher?.close()
    this.drainListeners()
    this.#http1.closeIdle()
    this.#connections.drain()
    const deadline = Promise.withResolvers<void>()
    const timer = setTimeout(deadline.resolve, this.#active.settings.drainDurationMs)
    // Connections that become idle meanwhile are let go at once, not at the deadline.
    const sweep = setInterval(() => this.#http1.closeIdle(), 250)
    await Promise.race([this.#connections.whenEmpty(), deadline.promise])
    clearTimeout(timer)
    clearInterval(sweep)
    await this.#end()
  }

  /** Ends now; idempotent. */
  async destroy(): Promise<void> {
    this.#lifecycle.drain()
    this.#watcher?.close()
    this.drainListeners()
    await this.#end()
  }

  async #end(): Promise<void> {
    this.#lifecycle.cut()
    this.#connections.destroy()
    await this.#connections.whenEmpty()
    this.#environment.mirrors.destroy()
    this.#active.clusters.retire()
    this.#terminators.close()
    this.#http1.close()
    await this.#services.close()
    await this.#audit.close()
    await this.#accessLog.close()
    await this.#control?.close()
    this.#lifecycle.closed()
  }
}
