/** Calendar windows in UTC: what a daily or monthly budget counts in. */

export type CalendarWindow = {
  /** `2026-11-22` or `2026-11`. */
  readonly id: string
  /** The first millisecond of the next one, since the epoch. */
  readonly endsAt: number
}

/** The window that holds this moment (milliseconds since the epoch). */
export function calendarWindow(per: 'day' | 'month', now: number): CalendarWindow {
  const date = new Date(now)
  const year = date.getUTCFullYear()
  const month = date.getUTCMonth()
  const id = date.toISOString()
  return per === 'day'
    ? { id: id.slice(0, 10), endsAt: Date.UTC(year, month, date.getUTCDate() + 1) }
    : { id: id.slice(0, 7), endsAt: Date.UTC(year, month + 1, 1) }
}
