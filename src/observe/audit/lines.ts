/**
 * What the audit stream says: JSON, one line each, `event` first. What concerns a caller has the fields of the default
 * access log and where the rule that decided stands; what concerns the gateway itself has its own.
 */
import { DEFAULT_JSON } from '../access-log/defaults.ts'
import { type AccessLogWriter, compileAccessLog } from '../access-log/format.ts'
import type { ExchangeRecord } from '../record.ts'

/** TABLE of events. */
export const AUDIT_EVENTS = {
  refused: 'A request, tunnel or connection was refused by the gateway.',
  ended: 'A tunnel or request that had been let through was ended by the gateway.',
  started: 'The gateway has started; `resources` are those it began with.',
  stopped: 'The gateway has ended.',
  config_activated: 'A changed configuration is active; `resources` says what has changed.',
  config_rejected: 'A changed configuration was refused; the last good one stays active.',
  block_set: 'A block holds here from now on, whichever gateway it was set at.',
  block_removed: 'A block holds no more: it was taken back, or its time is over.',
} as const satisfies Record<string, string>

/** Those about the gateway itself. */
export type AuditEvent = Exclude<keyof typeof AUDIT_EVENTS, 'refused' | 'ended'>

const lineOf = (event: 'refused' | 'ended'): AccessLogWriter =>
  compileAccessLog(
    'JSON',
    JSON.stringify({ event, ...DEFAULT_JSON, authz_policy_source: '%SALLYPORT_AUTHZ_POLICY_SOURCE%' }),
  )
const refused = lineOf('refused')
const ended = lineOf('ended')

/** null: the gateway has refused nothing here. */
export function auditLine(record: ExchangeRecord): string | null {
  if (record.reason === null) return null
  // Whoever had an upstream had been let through; what was said by then cannot be taken back.
  return record.upstreamHost === null ? refused(record) : ended(record)
}

/** `now`: milliseconds since the epoch. */
export function auditEventLine(event: AuditEvent, fields: Readonly<Record<string, unknown>>, now: number): string {
  return `${JSON.stringify({ event, start_time: new Date(now).toISOString(), ...fields })}\n`
}
