/** The three ports that are not the data path: admin, metrics, health (contract §7, §8), wired to one gateway. */
import { VERSION } from '../core/version.ts'
import type { Endpoint } from '../model/settings.ts'
import { createAdminServer, createHealthServer, createMetricsServer } from '../observe/admin.ts'
import { blockSwitch } from './block-switch.ts'
import type { Gateway } from './gateway.ts'
import { policyStatus, routeStatus } from './route-status.ts'

export type ControlServers = {
  readonly admin: Endpoint
  readonly metrics: Endpoint
  readonly health: Endpoint
  readonly endpoints: readonly Endpoint[]
  describe(): Readonly<Record<string, string>>
  close(): Promise<void>
}

/** Binds the three ports. @throws an Error that names the port that cannot be bound */
export async function startControlServers(gateway: Gateway): Promise<ControlServers> {
  const startedAt = Date.now()
  const { settings } = gateway.active
  const onError = (error: unknown) =>
    gateway.log.error(`control server: ${error instanceof Error ? error.message : String(error)}`)
  const servers = {
    admin: createAdminServer(
      {
        state: () => gateway.lifecycle.state,
        configDump: () => ({
          version: gateway.active.model.version,
          generation: gateway.active.generation,
          last_reload: gateway.lastReload,
          blocks: gateway.shared.listBlocks(),
          model: gateway.active.model,
        }),
        clusters: () => gateway.active.clusters.describe(),
        listeners: () =>
          gateway.boundPorts.map(({ gatewayPort, port, stats }) => ({
            name: stats.address,
            address: settings.bindAddress,
            port,
            gatewayPort,
          })),
        certs: () => gateway.active.credentials.inventory,
        serverInfo: () => ({
          version: VERSION,
          node: process.versions.node,
          gateway: settings.name,
          namespace: settings.namespace,
          engine: settings.http.engine,
          uptime_seconds: Math.floor((Date.now() - startedAt) / 1000),
          config_version: gateway.active.model.version,
          generation: gateway.active.generation,
        }),
        routes: () => routeStatus(gateway.active.model),
        policies: () => policyStatus(gateway.active.model),
        lastReload: () => gateway.lastReload,
        setLogLevel: (level) => gateway.log.setLevel(level),
        drainListeners: () => gateway.drainListeners(),
        failHealthcheck: () => gateway.lifecycle.failHealthcheck(true),
        okHealthcheck: () => gateway.lifecycle.failHealthcheck(false),
        quit: () => gateway.onQuit(),
        metrics: gateway.metrics,
        blocks: blockSwitch(gateway.shared),
      },
      onError,
    ),
    metrics: createMetricsServer(gateway.metrics, onError),
    health: createHealthServer(() => gateway.lifecycle.healthy, onError),
  }
  const bound: Record<string, Endpoint> = {}
  const close = async () => {
    await Promise.all(Object.values(servers).map((server) => server.close()))
  }
  for (const [name, server] of Object.entries(servers)) {
    const wanted = settings[name as keyof typeof servers]
    try {
      const { port } = await server.listen(wanted.address, wanted.port)
      bound[name] = { address: wanted.address, port }
    } catch (error) {
      await close()
      throw new Error(
        `spec.${name}: cannot listen on ${wanted.address}:${wanted.port}: ${error instanceof Error ? error.message : String(error)}`,
        { cause: error },
      )
    }
  }
  const { admin, metrics, health } = bound as Record<keyof typeof servers, Endpoint>
  return {
    admin,
    metrics,
    health,
    endpoints: [admin, metrics, health],
    describe: () =>
      Object.fromEntries(Object.entries(bound).map(([name, { address, port }]) => [name, `${address}:${port}`])),
    close,
  }
}
