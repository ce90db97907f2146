/**
 * Keeps secrets out of logs and dumps: whatever looks like key material or stands under a name that means a secret
 * becomes `[redacted]`. A second line of defence: nothing should hand secrets over in the first place.
 */

const REDACTED = '[redacted]'
const MAX_DEPTH = 32

/** Names whose values are secret, in objects and in [name, value] pairs. File paths (`privateKey`, `secretsDirectory`) are not. */
const SECRET_NAME =
  /^(?:.*[-_])?(?:password|passwd|passphrase|secret|token|jwt|cookie|set-cookie|authorization|apikey|api[-_]key|credentials)$/i
const CAMEL_SECRET = /(?:Password|Passphrase|Secret|Token|ApiKey)$/
const PEM_BLOCK = /-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|$)/g
/** Passwords in URLs (`redis://user:secret@host`). */
const URL_PASSWORD = /(\b[a-z][a-z0-9+.-]*:\/\/[^\s/:@]*:)[^\s/@]+(?=@)/gi

function isSecretName(name: string): boolean {
  return SECRET_NAME.test(name) || CAMEL_SECRET.test(name)
}

/** The text without private keys and URL passwords. */
export function redactText(text: string): string {
  if (text.length < 8) return text
  return text.replace(PEM_BLOCK, REDACTED).replace(URL_PASSWORD, `$1${REDACTED}`)
}

/** A deep copy fit to be shown. Errors keep name, message, code and cause; byte buffers show only their length. */
export function redact(value: unknown): unknown {
  return walk(value, 0, new Set())
}

function walk(value: unknown, depth: number, seen: Set<object>): unknown {
  if (typeof value === 'string') return redactText(value)
  if (typeof value === 'bigint') return String(value)
  if (typeof value !== 'object' || value === null) return value
  if (depth > MAX_DEPTH || seen.has(value)) return '[…]'
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return `[${value.byteLength} bytes]`
  if (value instanceof Date) return value.toJSON()
  seen.add(value)
  const copy = copyOf(value, depth, seen)
  seen.delete(value)
  return copy
}

function copyOf(value: object, depth: number, seen: Set<object>): unknown {
  const next = (item: unknown) => walk(item, depth + 1, seen)
  if (value instanceof Error) return errorFields(value, next)
  if (value instanceof Map) return entries([...value], next)
  if (value instanceof Set) return [...value].map(next)
  if (Array.isArray(value)) {
    const [name, text] = value as readonly unknown[]
    if (value.length === 2 && typeof name === 'string' && typeof text === 'string' && isSecretName(name))
      return [name, REDACTED]
    return value.map(next)
  }
  return entries(Object.entries(value), next)
}

function entries(
  pairs: readonly (readonly [unknown, unknown])[],
  next: (item: unknown) => unknown,
): Record<string, unknown> {
  const copy: Record<string, unknown> = {}
  for (const [key, item] of pairs) {
    const name = String(key)
    const secret = isSecretName(name) && item !== null && typeof item !== 'boolean' && typeof item !== 'number'
    Object.defineProperty(copy, name, { value: secret ? REDACTED : next(item), enumerable: true })
  }
  return copy
}

function errorFields(error: Error, next: (item: unknown) => unknown): Record<string, unknown> {
  const code = (error as { readonly code?: unknown }).code
  return {
    type: error.name,
    message: redactText(error.message),
    ...(code === undefined ? {} : { code: next(code) }),
    ...(error.stack === undefined ? {} : { stack: redactText(error.stack) }),
    ...(error.cause === undefined ? {} : { cause: next(error.cause) }),
  }
}
