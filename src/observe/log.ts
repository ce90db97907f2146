/**
 * The operational log: what the gateway says about itself, one JSON line each, on stderr (the access log has stdout).
 * Written through the same capped, non-blocking sink as the access log; secrets are taken out before a line is made.
 */
import { pino } from 'pino'
import type { LineSink } from './access-log/sink.ts'
import { redact, redactText } from './redact.ts'

/** TABLE of levels, most talkative first: ours → pino's. Also what `POST /logging?level=` takes. */
export const LOG_LEVELS = {
  trace: 'trace',
  debug: 'debug',
  info: 'info',
  warning: 'warn',
  error: 'error',
  critical: 'fatal',
  off: 'silent',
} as const satisfies Record<string, pino.LevelWithSilent>

export type LogLevel = keyof typeof LOG_LEVELS
type LogFields = Readonly<Record<string, unknown>>

export type Log = {
  debug(message: string, fields?: LogFields): void
  info(message: string, fields?: LogFields): void
  warning(message: string, fields?: LogFields): void
  error(message: string, fields?: LogFields): void
  critical(message: string, fields?: LogFields): void
  /** A log that adds `fields` to every line; shares the level. */
  child(fields: LogFields): Log
  level(): LogLevel
  setLevel(level: LogLevel): void
}

/** `warn`, `fatal` and `silent` are understood too. null: no such level. */
export function parseLogLevel(text: string): LogLevel | null {
  const lower = text.toLowerCase()
  const levels = Object.keys(LOG_LEVELS) as LogLevel[]
  return levels.find((level) => level === lower || LOG_LEVELS[level] === lower) ?? null
}

/** Creates the log. The sink stays the caller's: close it last. */
export function createLog(sink: Pick<LineSink, 'write'>, level: LogLevel = 'info'): Log {
  const state = { level }
  const logger = pino(
    {
      // The threshold is ours (`state`), so that children follow a change at once.
      level: 'trace',
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      messageKey: 'message',
      formatters: { level: (_label, number) => ({ level: labelOf(number) }) },
    },
    { write: (line) => sink.write(line) },
  )
  return wrap(logger, state, {})
}

const ORDER = Object.keys(LOG_LEVELS) as LogLevel[]

function labelOf(number: number): string {
  return ORDER.find((level) => pino.levels.values[LOG_LEVELS[level]] === number) ?? String(number)
}

function wrap(logger: pino.Logger, state: { level: LogLevel }, bound: LogFields): Log {
  const at = (level: 'debug' | 'info' | 'warning' | 'error' | 'critical') => (message: string, fields?: LogFields) => {
    if (ORDER.indexOf(level) < ORDER.indexOf(state.level)) return
    logger[LOG_LEVELS[level]](redact({ ...bound, ...fields }) as object, redactText(message))
  }
  return {
    debug: at('debug'),
    info: at('info'),
    warning: at('warning'),
    error: at('error'),
    critical: at('critical'),
    child: (fields) => wrap(logger, state, { ...bound, ...fields }),
    level: () => state.level,
    setLevel(level) {
      state.level = level
    },
  }
}
