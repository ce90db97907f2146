/** The audit stream of one gateway: opened before anything is served, told of every refusal and of every change of policy. */
import { diffOf, type Inventory, NOTHING_THERE } from '../config/inventory.ts'
import type { Settings } from '../model/settings.ts'
import { type AuditEvent, auditEventLine, auditLine } from '../observe/audit/lines.ts'
import { AuditStream } from '../observe/audit/stream.ts'
import type { Log } from '../observe/log.ts'
import type { ExchangeRecord } from '../observe/record.ts'
import type { Snapshot } from '../runtime/snapshot.ts'
import { StartError } from './start-error.ts'

/** What became of a reload, in the words of the stream. */
type Activation = { readonly before: Snapshot; readonly after: Snapshot; readonly inventory: Inventory }

export class Audit {
  readonly #log: Log
  #stream: AuditStream | null = null
  #inventory = NOTHING_THERE
  /** Called at the beginning and at the end of an outage. */
  onFailing: (failing: boolean) => void = () => undefined
  /** Called when no more may be kept: whoever is connected should go elsewhere. */
  onFull: () => void = () => undefined

  constructor(log: Log) {
    this.#log = log
  }

  /** Opens it and writes its first line. @throws StartError when either fails: a gateway that must be audited does not run without */
  open({ audit }: Settings, first: Snapshot, inventory: Inventory): void {
    if (audit === null) return
    try {
      this.#stream = new AuditStream({
        path: audit.path,
        onFull: () => this.onFull(),
        onState: (error) => this.#changed(error),
        onStray: (error) => this.#log.error(`audit: ${error.message}; lines go into the file that was moved away`),
      })
    } catch (error) {
      throw new StartError([`spec.audit.path: ${error instanceof Error ? error.message : String(error)}`])
    }
    this.#inventory = inventory
    this.event('started', { ...idOf(first), resources: diffOf(NOTHING_THERE, inventory).added })
    const { failure } = this.#stream
    if (failure === null) return
    void this.#stream.close(0)
    this.#stream = null
    throw new StartError([`spec.audit.path: cannot write to "${audit.path}": ${failure.message}`])
  }

  /** Of every finished request, tunnel and connection. */
  record(record: ExchangeRecord): void {
    if (this.#stream === null) return
    const line = auditLine(record)
    if (line !== null) this.#stream.write(line)
  }

  /** Something about the gateway itself. Nothing of it may be a secret. */
  event(event: AuditEvent, fields: Readonly<Record<string, unknown>>): void {
    this.#stream?.write(auditEventLine(event, fields, Date.now()))
  }

  activated({ before, after, inventory }: Activation): void {
    this.event('config_activated', {
      ...idOf(after),
      resources: diffOf(this.#inventory, inventory),
      credentials_changed: before.credentials.version !== after.credentials.version,
    })
    this.#inventory = inventory
  }

  rejected(active: Snapshot, errors: readonly string[]): void {
    this.event('config_rejected', { ...idOf(active), errors })
  }

  /** Lines are waiting that could not be written. */
  get failing(): boolean {
    return (this.#stream?.failure ?? null) !== null
  }

  /** As many are waiting as may: nobody else must be let in. */
  get full(): boolean {
    return this.#stream?.full === true
  }

  /** What cannot be written any more goes to the operational log: it is the only place left. */
  async close(): Promise<void> {
    this.event('stopped', {})
    const left = (await this.#stream?.close()) ?? []
    this.#stream = null
    for (const line of left) this.#log.critical('audit line that could not be written', { line: line.trimEnd() })
  }

  #changed(error: Error | null): void {
    this.onFailing(error !== null)
    if (error === null) this.#log.info('audit: written again, nothing was lost')
    else this.#log.error(`audit: ${error.message}; lines are kept, readiness fails until they are written`)
  }
}

function idOf({ generation, model }: Snapshot): { readonly generation: number; readonly version: string } {
  return { generation, version: model.version }
}
