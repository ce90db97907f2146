/**
 * The longest time Node's timers count: 31 bits of milliseconds, 24 days. Longer ones would fire at once, so times that
 * configuration gives are cut to it.
 */
export const MAX_TIMER_MS = 0x7fff_ffff
