/**
 * Composition root: one running gateway. Start, reload (all or nothing), drain, end. Everything it opens it closes.
 */
import type { Socket } from 'node:net'
import { type ConfigurationWatcher, watchConfiguration } from '../config/watch.ts'
import type { ListenerStats } from '../core/stats.ts'
import { VERSION } from '../core/version.ts'
import { createHttpProxyForwarder } from '../forward/http-proxy.ts'
import { createSelfCheck } from '../forward/self.ts'
import { type BoundPort, bindPort } from '../listeners/bound-port.ts'
import { httpConnections } from '../listeners/connection.ts'
import type { Environment } from '../listeners/environment.ts'
import { startExchange } from '../listeners/exchange.ts'
import { createHttp1Server, type Http1Server } from '../listeners/http1.ts'
import { endMalformed } from '../listeners/malformed.ts'
import { createTerminator, type Terminator } from '../listeners/terminate.ts'
import type { Endpoint } from '../model/settings.ts'
import { createSink, type LineSink } from '../observe/access-log/sink.ts'
import type { Log } from '../observe/log.ts'
import { createMetrics, type Metrics } from '../observe/metrics.ts'
import type { ExchangeRecord } from '../observe/record.ts'
import { Connections } from '../runtime/connections.ts'
import { Lifecycle } from '../runtime/lifecycle.ts'
import type { ServerPlan, Snapshot } from '../runtime/snapshot.ts'
import { type Candidate, prepareCandidate } from './candidate.ts'
import { type ControlServers, startControlServers } from './control.ts'

export type GatewayOptions = {
  readonly configFile: string
  readonly log: Log
  /** Reload when a file changes; default true. */
  readonly watch?: boolean
}

/** The configuration was refused; every reason, one per line, file:line:col first where there is one. */
export class StartError extends Error {
  override readonly name = 'StartError'
  readonly problems: readonly string[]
  constructor(problems: readonly string[]) {
    super(problems.join('\n'))
    this.problems = problems
  }
}

export type ReloadResult = { readonly ok: boolean; readonly errors: readonly string[] }

export class Gateway {
  readonly #options: GatewayOptions
  readonly #log: Log
  readonly #lifecycle = new Lifecycle()
  readonly #connections = new Connections()
  readonly #terminators = new Map<string, Terminator>()
  readonly #ports = new Map<number, BoundPort>()
  /** Of released ports too: counters never fall. */
  readonly #listenerStats: ListenerStats[] = []
  readonly #environment: Environment
  readonly #http1: Http1Server
  readonly #metrics: Metrics
  readonly #isSelf: (address: string, port: number) => boolean
  #active: Snapshot
  #sink: LineSink | null = null
  #sinkPath = ''
  #droppedBefore = 0
  #control: ControlServers | null = null
  #watcher: ConfigurationWatcher | null = null
  #reloading: Promise<ReloadResult> | null = null
  #lastReload: { successful: boolean; at: number; errors: readonly string[] }
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
    const candidate = prepareCandidate({ configFile: options.configFile, active: null, isSelf, now: Date.now() })
    if (candidate.kind !== 'ready') {
      watcher?.close()
      throw new StartError(candidate.kind === 'rejected' ? candidate.errors : ['internal error: nothing to start from'])
    }
    for (const warning of candidate.warnings) options.log.warning(warning)
    const gateway = new Gateway(options, candidate.snapshot, isSelf)
    gateway.#watcher = watcher
    self.gateway = gateway
    try {
      await gateway.#activate(candidate.snapshot)
      await gateway.#openControl()
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

  private constructor(options: GatewayOptions, first: Snapshot, isSelf: (address: string, port: number) => boolean) {
    this.#options = options
    this.#log = options.log
    this.#active = first
    this.#isSelf = isSelf
    this.#lastReload = { successful: true, at: Date.now(), errors: [] }
    this.#metrics = createMetrics({
      clusters: () => this.#active.clusters.stats(),
      listeners: () => this.#listenerStats,
      certificates: () => this.#active.credentials.inventory,
      accessLogDropped: () => this.accessLogDropped(),
      openConnections: () => this.#connections.size,
      openTunnels: () => 0,
      dns: () => this.#active.clusters.dns,
      config: () => ({
        generation: this.#active.generation,
        lastReloadSuccessful: this.#lastReload.successful,
        lastReloadAt: this.#lastReload.at,
        version: this.#active.model.version,
      }),
      gatewayName: first.settings.name,
      gatewayNamespace: first.settings.namespace,
      buildVersion: VERSION,
    })
    this.#http1 = createHttp1Server(first.settings.http, {
      request: (socket: Socket, downstream) => {
        const http = httpConnections.get(socket)
        return http === undefined ? null : startExchange(this.#environment, http, downstream)
      },
      malformed: (socket, kind, code) => endMalformed(this.#environment, socket, kind, code),
    })
    this.#environment = {
      active: () => this.#active,
      forwarder: createHttpProxyForwarder(),
      connections: this.#connections,
      finish: (record) => this.#finish(record),
      refusedConnection: (reason) => this.#metrics.connectionRefused(reason),
      draining: () => this.#lifecycle.draining,
      cutting: () => this.#lifecycle.cutting,
      terminator: (plan) => this.#terminator(plan),
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

  get lastReload(): { readonly successful: boolean; readonly at: number; readonly errors: readonly string[] } {
    return this.#lastReload
  }

  get boundPorts(): readonly BoundPort[] {
    return [...this.#ports.values()]
  }

  /** Where admin, metrics and health really listen. */
  get control(): ControlServers | null {
    return this.#control
  }

  /** The port really bound for a Gateway port. @throws when that port is not served */
  port(gatewayPort: number): number {
    const bound = this.#ports.get(gatewayPort)
    if (bound === undefined) throw new Error(`Gateway port ${gatewayPort} is not bound`)
    return bound.port
  }

  /** Every address and port this process listens on: dialling them would be a loop. */
  *boundEndpoints(): Iterable<Endpoint> {
    const { bindAddress } = this.#active.settings
    for (const { port } of this.#ports.values()) yield { address: bindAddress, port }
    yield* this.#control?.endpoints ?? []
  }

  accessLogDropped(): number {
    return this.#droppedBefore + (this.#sink?.dropped() ?? 0)
  }

  /** Loads the files again; any error keeps what runs. Calls while one is running get that one's result. */
  async reload(): Promise<ReloadResult> {
    this.#reloading ??= this.#reload().finally(() => {
      this.#reloading = null
    })
    return this.#reloading
  }

  async #reload(): Promise<ReloadResult> {
    if (this.#lifecycle.draining) return { ok: false, errors: ['draining'] }
    const candidate = prepareCandidate({
      configFile: this.#options.configFile,
      active: this.#active,
      isSelf: this.#isSelf,
      now: Date.now(),
    })
    // A load that failed knows no credential paths: those of what runs must go on being watched.
    const { inventory } = this.#active.credentials
    this.#watcher?.update([...new Set([...candidate.files, ...inventory.map(({ path }) => path)])])
    if (candidate.kind === 'rejected') return this.#rejected(candidate.errors)
    if (candidate.kind === 'ready') {
      for (const warning of candidate.warnings) this.#log.warning(warning)
      try {
        await this.#activate(candidate.snapshot)
      } catch (error) {
        candidate.snapshot.clusters.retire()
        return this.#rejected([error instanceof Error ? error.message : String(error)])
      }
    }
    this.#lastReload = { successful: true, at: Date.now(), errors: [] }
    if (candidate.kind === 'ready')
      this.#log.info('configuration activated', {
        generation: this.#active.generation,
        version: this.#active.model.version,
      })
    return { ok: true, errors: [] }
  }

  #rejected(errors: readonly string[]): ReloadResult {
    this.#lastReload = { successful: false, at: Date.now(), errors }
    for (const error of errors) this.#log.error(error)
    this.#log.error('configuration rejected: the last good one stays active', { generation: this.#active.generation })
    return { ok: false, errors }
  }

  /** Everything that can fail first, then the swap, then letting go of the old. */
  async #activate(next: Snapshot): Promise<void> {
    const previous = this.#active === next ? null : this.#active
    for (const listener of next.listeners.values())
      for (const server of listener.servers) if (server.material !== null) this.#terminator(server)
    const sink = this.#openSink(next)
    const fresh: BoundPort[] = []
    try {
      for (const { gatewayPort, bindPort: port } of next.model.listeners) {
        if (!this.#ports.has(gatewayPort)) fresh.push(await this.#bind(gatewayPort, next.settings.bindAddress, port))
      }
    } catch (error) {
      for (const port of fresh) port.close()
      if (sink !== this.#sink) await sink?.close()
      throw error
    }
    for (const port of fresh) {
      this.#ports.set(port.gatewayPort, port)
      this.#listenerStats.push(port.stats)
    }
    this.#active = next
    this.#swapSink(sink, next.settings.mesh.accessLogFile)
    this.#http1.apply(next.settings.http)
    for (const [gatewayPort, port] of this.#ports) {
      if (next.listeners.has(gatewayPort)) continue
      port.close()
      this.#ports.delete(gatewayPort)
    }
    previous?.clusters.retire()
    this.#dropTerminators(next)
  }

  async #bind(gatewayPort: number, address: string, port: number): Promise<BoundPort> {
    try {
      return await bindPort(this.#environment, gatewayPort, address, port)
    } catch (error) {
      throw new StartError([
        `Gateway port ${gatewayPort}: cannot listen on ${address}:${port}: ${error instanceof Error ? error.message : String(error)}`,
      ])
    }
  }

  #terminator(plan: ServerPlan): Terminator {
    const known = this.#terminators.get(plan.tlsKey)
    if (known !== undefined) return known
    const { tls } = plan.model
    if (tls === null || plan.material === null) throw new Error(`server ${plan.model.name} does not terminate TLS`)
    const terminator = createTerminator(tls, plan.material)
    this.#terminators.set(plan.tlsKey, terminator)
    return terminator
  }

  #dropTerminators(next: Snapshot): void {
    const used = new Set(
      [...next.listeners.values()].flatMap((listener) => listener.servers.map((server) => server.tlsKey)),
    )
    for (const [key, terminator] of this.#terminators) {
      if (used.has(key)) continue
      terminator.close()
      this.#terminators.delete(key)
    }
  }

  #openSink(next: Snapshot): LineSink | null {
    const path = next.settings.mesh.accessLogFile
    if (path === this.#sinkPath) return this.#sink
    return path === ''
      ? null
      : createSink({ path, onError: (error) => this.#log.error(`access log: ${error.message}`) })
  }

  #swapSink(sink: LineSink | null, path: string): void {
    if (sink === this.#sink) return
    const before = this.#sink
    this.#sink = sink
    this.#sinkPath = path
    if (before === null) return
    void before.close().then(() => {
      this.#droppedBefore += before.dropped()
    })
  }

  #finish(record: ExchangeRecord): void {
    this.#metrics.record(record)
    const { accessLog } = this.#active
    if (accessLog !== null && this.#sink !== null) this.#sink.write(accessLog(record))
  }

  async #openControl(): Promise<void> {
    this.#control = await startControlServers(this)
  }

  /** Stops accepting, as POST /drain_listeners does; the process goes on. */
  drainListeners(): void {
    for (const port of this.#ports.values()) port.close()
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
    this.#active.clusters.retire()
    for (const terminator of this.#terminators.values()) terminator.close()
    this.#http1.close()
    await this.#sink?.close()
    await this.#control?.close()
    this.#lifecycle.closed()
  }
}

export type { Candidate }
