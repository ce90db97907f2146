/**
 * Bootstrap fields that need a restart (contract §9). After a reload that changes one of them the running gateway
 * keeps what it started with, and says so.
 */
import type { Settings } from '../model/settings.ts'

/** TABLE: field → how to tell whether it changed. */
const STATIC_FIELDS = {
  'metadata.name': (settings) => settings.name,
  'metadata.namespace': (settings) => settings.namespace,
  bindAddress: (settings) => settings.bindAddress,
  ports: (settings) => settings.ports,
  admin: (settings) => settings.admin,
  metrics: (settings) => settings.metrics,
  health: (settings) => settings.health,
  audit: (settings) => settings.audit,
  redis: (settings) => settings.redis,
  stateDirectory: (settings) => settings.stateDirectory,
  'http.engine': (settings) => settings.http.engine,
} as const satisfies Record<string, (settings: Settings) => unknown>

/** Names of the restart-only fields in which two bootstraps differ. */
export function changedStaticFields(started: Settings, next: Settings): string[] {
  return Object.entries(STATIC_FIELDS)
    .filter(([, read]) => JSON.stringify(read(started)) !== JSON.stringify(read(next)))
    .map(([name]) => name)
}

/** `next` with every restart-only field as it was at start. */
export function keepStaticFields(started: Settings, next: Settings): Settings {
  const { name, namespace, bindAddress, ports, admin, metrics, health, audit, redis, stateDirectory } = started
  return {
    ...next,
    name,
    namespace,
    bindAddress,
    ports,
    admin,
    metrics,
    health,
    audit,
    redis,
    stateDirectory,
    http: { ...next.http, engine: started.http.engine },
  }
}
