/** Configuration files → a snapshot that could be activated, or every reason why not. Touches nothing that runs. */
import { type Diagnostic, formatDiagnostic } from '../config/diagnostics.ts'
import type { Inventory } from '../config/inventory.ts'
import { loadConfiguration } from '../config/load.ts'
import { type ClusterSet, createClusters } from '../forward/clusters.ts'
import { CredentialError, type Credentials, loadCredentials } from '../identity/credentials.ts'
import type { GatewayModel } from '../model/gateway.ts'
import type { AccessLogModel } from '../model/telemetry.ts'
import { AccessLogFormatError } from '../observe/access-log/error.ts'
import { checkAccessLogFormat, compileAccessLog } from '../observe/access-log/format.ts'
import { compileFilter } from '../observe/cel-attributes.ts'
import { compileSnapshot, type LogPlan, type Snapshot } from '../runtime/snapshot.ts'
import { createGates, type GateServices } from './gates.ts'
import { changedStaticFields, keepStaticFields } from './static-settings.ts'

export type Candidate =
  | {
      readonly kind: 'ready'
      readonly snapshot: Snapshot
      readonly inventory: Inventory
      readonly warnings: readonly string[]
      readonly files: readonly string[]
    }
  | { readonly kind: 'unchanged'; readonly warnings: readonly string[]; readonly files: readonly string[] }
  | { readonly kind: 'rejected'; readonly errors: readonly string[]; readonly files: readonly string[] }

export type CandidateContext = {
  readonly configFile: string
  /** The active snapshot; null at start. */
  readonly active: Snapshot | null
  readonly isSelf: (address: string, port: number) => boolean
  readonly now: number
  readonly services: GateServices
}

/** Reads and compiles everything. Never throws: what can go wrong with files is an error text. */
export function prepareCandidate(context: CandidateContext): Candidate {
  const { active } = context
  let changed: readonly string[] = []
  const loaded = loadConfiguration(context.configFile, {
    checkAccessLogFormat,
    adjustSettings: (settings) => {
      if (active === null) return settings
      changed = changedStaticFields(active.settings, settings)
      return keepStaticFields(active.settings, settings)
    },
  })
  const { files } = loaded
  const errors = loaded.diagnostics.filter(({ severity }) => severity === 'error').map(formatDiagnostic)
  if (loaded.model === null) return { kind: 'rejected', errors, files }
  const warnings = texts(loaded.diagnostics, changed)
  const credentials = tryCredentials(loaded.model, context.now)
  if (Array.isArray(credentials)) return { kind: 'rejected', errors: credentials, files }
  if (
    active !== null &&
    active.model.version === loaded.model.version &&
    active.credentials.version === credentials.version
  ) {
    return { kind: 'unchanged', warnings, files }
  }
  let clusters: ClusterSet | null = null
  try {
    clusters = buildClusters(loaded.model, credentials, context)
    const snapshot = compileSnapshot(loaded.model, {
      generation: (active?.generation ?? 0) + 1,
      clusters,
      credentials,
      gates: createGates(loaded.model, context.services, clusters),
      accessLogs: loaded.model.telemetry.accessLogs.map(compileLog),
      previous: active,
    })
    return { kind: 'ready', snapshot, inventory: loaded.inventory, warnings, files }
  } catch (error) {
    clusters?.retire()
    return {
      kind: 'rejected',
      errors: [error instanceof AccessLogFormatError ? `accessLogFormat: ${error.message}` : String(error)],
      files,
    }
  }
}

function texts(diagnostics: readonly Diagnostic[], changed: readonly string[]): string[] {
  const restart = changed.map(
    (field) => `${field} has changed in the bootstrap file: restart to apply it; the running value stays`,
  )
  return [...diagnostics.filter(({ severity }) => severity === 'warning').map(formatDiagnostic), ...restart]
}

function tryCredentials(model: GatewayModel, now: number): Credentials | string[] {
  try {
    return loadCredentials(model, now)
  } catch (error) {
    if (error instanceof CredentialError) return error.problems.map(({ path, message }) => `${path}: ${message}`)
    return [String(error)]
  }
}

function buildClusters(model: GatewayModel, credentials: Credentials, context: CandidateContext): ClusterSet {
  return createClusters(
    model.clusters,
    { material: (tls) => credentials.upstream(tls), settings: model.settings, isSelf: context.isSelf },
    context.active?.clusters ?? null,
  )
}

function compileLog(model: AccessLogModel): LogPlan {
  const { path, encoding, format, filter } = model
  return {
    path,
    filter: filter === null ? null : compileFilter(filter),
    print: compileAccessLog(encoding, format, model).into,
  }
}
