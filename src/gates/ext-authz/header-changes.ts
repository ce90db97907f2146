/** What an authorizer may change in a request's fields, and the fields after that. Lists are flat, names lower case. */
import type { HeaderList } from '../../core/attributes.ts'
import { fieldsAreCarriable, isHopByHop } from '../../core/headers.ts'
import type { HeaderChange } from './verdict.ts'

/** What frames the request, or says where it goes: judged apart, and not an authorizer's to say. */
const FIXED: ReadonlySet<string> = new Set(['host', 'content-length', 'x-request-id'])

/** False for what delimits or addresses a message, pseudo fields included. */
export function isChangeable(name: string): boolean {
  return !FIXED.has(name) && !isHopByHop(name) && !name.startsWith(':')
}

/** The request's fields with the changes made and the names of `remove` gone. null: the result could not be carried. */
export function changedHeaders(
  headers: HeaderList,
  changes: readonly HeaderChange[],
  remove: readonly string[],
): HeaderList | null {
  let fields: HeaderList = headers
  const set = new Set<string>()
  for (const { name, value, how } of changes) {
    if (!isChangeable(name)) return null
    const at = indexOf(fields, name)
    if (how === 'append') {
      if (at !== -1) fields = joined(fields, at, value)
      continue
    }
    if (set.has(name)) {
      fields = [...fields, name, value]
      continue
    }
    if ((how === 'absent' && at !== -1) || (how === 'replace' && at === -1)) continue
    set.add(name)
    fields = [...(at === -1 ? fields : without(fields, (each) => each === name)), name, value]
  }
  // As Envoy: what addresses the request is not removed, whoever asks.
  if (remove.length > 0) fields = without(fields, (name) => isChangeable(name) && remove.includes(name))
  return fieldsAreCarriable(fields) ? oneCookie(fields) : null
}

function indexOf(fields: HeaderList, name: string): number {
  for (let i = 0; i < fields.length; i += 2) if (fields[i] === name) return i
  return -1
}

function joined(fields: HeaderList, at: number, value: string): HeaderList {
  const out = [...fields]
  out[at + 1] = `${out[at + 1]}${out[at] === 'cookie' ? '; ' : ','}${value}`
  return out
}

function without(fields: HeaderList, drops: (name: string) => boolean): string[] {
  const out: string[] = []
  for (let i = 0; i < fields.length; i += 2)
    if (!drops(fields[i] as string)) out.push(fields[i] as string, fields[i + 1] as string)
  return out
}

/** Policy sees cookies in the one form in which they leave (listeners/normalise.ts). */
function oneCookie(fields: HeaderList): HeaderList {
  const first = indexOf(fields, 'cookie')
  if (first === -1) return fields
  const out: string[] = []
  let cookie = -1
  for (let i = 0; i < fields.length; i += 2) {
    if (fields[i] === 'cookie' && cookie !== -1) {
      out[cookie] += `; ${fields[i + 1]}`
      continue
    }
    out.push(fields[i] as string, fields[i + 1] as string)
    if (fields[i] === 'cookie') cookie = out.length - 1
  }
  return out
}
