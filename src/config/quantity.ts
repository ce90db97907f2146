/** Whole numbers as Kubernetes writes quantities: `1000`, `500k`, `10Mi`. */

const SUFFIXES: Readonly<Record<string, number>> = {
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
}

/** null: not a whole number of at least 1, or beyond what is counted exactly (2^53). */
export function parseQuantity(value: number | string): number | null {
  const [, digits = '', suffix = ''] = /^(\d{1,16})([A-Za-z]{0,2})$/.exec(String(value)) ?? []
  const factor = Object.hasOwn(SUFFIXES, suffix) ? SUFFIXES[suffix] : undefined
  if (digits === '' || factor === undefined) return null
  const total = Number(digits) * factor
  return total >= 1 && Number.isSafeInteger(total) ? total : null
}
