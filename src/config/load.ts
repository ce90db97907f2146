/** Bootstrap file → GatewayModel, or every reason why not. The one entrance to configuration for run, validate, explain. */
import path from 'node:path'
import type { GatewayModel } from '../model/gateway.ts'
import type { Settings } from '../model/settings.ts'
import { appliesToGateway } from './applies.ts'
import { assemble } from './assemble.ts'
import { type CheckAccessLogFormat, readBootstrap } from './bootstrap.ts'
import type { Diagnostic } from './diagnostics.ts'
import { type Display, displayFromHere, top } from './files.ts'
import { type Inventory, inventoryOf, NOTHING_THERE } from './inventory.ts'
import { KINDS } from './kinds/index.ts'
import { type ReadResult, readResources, type UnsupportedFinding } from './read.ts'
import { collectDiagnostics } from './report.ts'
import type { Report } from './resource.ts'

export type LoadOptions = {
  /** How files are named in diagnostics and sources; default: relative to the working directory where they lie below it. */
  readonly display?: Display
  readonly checkAccessLogFormat?: CheckAccessLogFormat
  /** Applied to the bootstrap's settings before anything is assembled from them: a reload keeps what needs a restart. */
  readonly adjustSettings?: (settings: Settings) => Settings
}

export type LoadResult = {
  /** null: the bootstrap itself has errors. */
  readonly settings: Settings | null
  /** null: at least one diagnostic is an error. */
  readonly model: GatewayModel | null
  /** Sorted by file, line, column. */
  readonly diagnostics: readonly Diagnostic[]
  /** What it was made of; nothing where no audit stream wants to know. */
  readonly inventory: Inventory
  /** Every file and directory whose change may change the result: what to watch. Absolute paths. */
  readonly files: readonly string[]
}

/** Reads a bootstrap file and all it names. Synchronous: it runs at start and at reload, never per request. Never throws on content. */
export function loadConfiguration(file: string, options: LoadOptions = {}): LoadResult {
  const display = options.display ?? displayFromHere
  const { report, sorted } = collectDiagnostics()
  const bootstrapFile = path.resolve(file)
  const { checkAccessLogFormat } = options
  const bootstrap = readBootstrap(bootstrapFile, { display, checkAccessLogFormat }, report)
  const { resourcePaths, resourcePathAt, namespace } = bootstrap
  const settings =
    bootstrap.settings === null ? null : (options.adjustSettings?.(bootstrap.settings) ?? bootstrap.settings)
  let model: GatewayModel | null = null
  let inventory = NOTHING_THERE
  guarded(report, display(bootstrapFile), () => {
    const options = { kinds: KINDS, defaultNamespace: namespace, display, namedAt: resourcePathAt }
    const read = readResources(resourcePaths, options, report)
    reportUnsupported(read.unsupported, settings, report)
    if (settings !== null) model = assemble(settings, read.resources, report)
    if (settings !== null && settings.audit !== null)
      inventory = inventoryOf(read.resources, settings, top(display(bootstrapFile)))
  })
  const diagnostics = sorted()
  const usable = diagnostics.every((each) => each.severity !== 'error') ? (model as GatewayModel | null) : null
  const files = new Set([bootstrapFile, ...resourcePaths])
  if (settings !== null) {
    for (const each of Object.values(settings.identity)) if (each !== '') files.add(each)
    files.add(settings.secretsDirectory)
  }
  if (usable !== null) for (const each of credentialPaths(usable)) files.add(each)
  return { settings, model: usable, diagnostics, inventory, files: [...files] }
}

/** Checks resource files without a bootstrap: structure and what each resource says alone (`validate DIR…`). */
export function validateFiles(
  paths: readonly string[],
  options: Pick<LoadOptions, 'display'> = {},
): readonly Diagnostic[] {
  const display = options.display ?? displayFromHere
  const { report, sorted } = collectDiagnostics()
  const absolute = paths.map((each) => path.resolve(each))
  guarded(report, display(absolute[0] ?? '.'), () => {
    const read: ReadResult = readResources(
      absolute,
      { kinds: KINDS, defaultNamespace: 'istio-system', display },
      report,
    )
    reportUnsupported(read.unsupported, null, report)
  })
  return sorted()
}

/** Without settings nobody knows what applies to which gateway: then all are warnings (contract §3). */
function reportUnsupported(findings: readonly UnsupportedFinding[], settings: Settings | null, report: Report): void {
  for (const { resource, field, path: where, at } of findings) {
    const fatal = field.severity === 'error' && settings !== null && appliesToGateway(resource, settings)
    const message = `${resource.kind} ${resource.namespace}/${resource.name}: ${where} is not implemented: ${field.why}`
    report('SP1034', at, message, { severity: fatal ? 'error' : 'warning' })
  }
}

/** A fault of ours in reading a file must not stop a gateway that runs: it is one more reason to keep the last good model. */
function guarded(report: Report, file: string, action: () => void): void {
  try {
    action()
  } catch (error) {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
    report('SP1090', top(file), `internal error: ${text.split('\n').slice(0, 3).join(' | ')}`)
  }
}

function credentialPaths(model: GatewayModel): readonly string[] {
  const paths: string[] = []
  for (const { servers } of model.listeners) {
    for (const { tls } of servers) {
      if (tls === null) continue
      if (tls.certificates !== 'mesh') {
        for (const { certificateChain, privateKey } of tls.certificates) paths.push(certificateChain, privateKey)
      }
      if (tls.clientCa !== null && tls.clientCa !== 'mesh') paths.push(tls.clientCa)
    }
  }
  for (const { tls } of model.clusters) {
    if (tls === null) continue
    if (tls.ca !== 'system' && tls.ca !== 'mesh') paths.push(tls.ca)
    if (tls.crl !== null) paths.push(tls.crl)
    const own = tls.clientCertificate
    if (own !== null && own !== 'mesh') paths.push(own.certificateChain, own.privateKey)
  }
  return paths
}
