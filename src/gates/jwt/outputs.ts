/** Fields that a verified token fills (outputPayloadToHeader, outputClaimToHeaders), as Envoy's jwt_authn writes them. */
import type { HeaderList } from '../../core/attributes.ts'
import { isFieldValue } from '../../core/headers.ts'
import type { TokenRuleModel } from '../../model/token.ts'

type OutputRule = Pick<TokenRuleModel, 'payloadHeader' | 'claimHeaders'>

/** The names of the fields: what a caller sends under them is never let through. */
export function outputNames({ payloadHeader, claimHeaders }: OutputRule): readonly string[] {
  return [...(payloadHeader === null ? [] : [payloadHeader]), ...claimHeaders.map(({ header }) => header)]
}

/** null: a claim that should go out is nothing a field can hold as it is. */
export function outputFields(
  { payloadHeader, claimHeaders }: OutputRule,
  token: { readonly payload: string; readonly claims: Readonly<Record<string, unknown>> },
): HeaderList | null {
  const fields: string[] = []
  if (payloadHeader !== null) fields.push(payloadHeader, token.payload)
  for (const { header, claim } of claimHeaders) {
    const value = textOf(claimNamed(token.claims, claim))
    if (value === '') continue
    // One character per byte, as everywhere in fields.
    const bytes = Buffer.from(value).toString('latin1')
    if (!isFieldValue(bytes) || bytes !== bytes.trim()) return null
    fields.push(header, bytes)
  }
  return fields
}

/** A claim of this name, else of the path that its dots make. */
function claimNamed(claims: Readonly<Record<string, unknown>>, claim: string): unknown {
  if (Object.hasOwn(claims, claim)) return claims[claim]
  let value: unknown = claims
  for (const name of claim.split('.')) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined
    value = (value as Readonly<Record<string, unknown>>)[name]
  }
  return value
}

/** Empty: nothing goes out (lists and objects do not). Numbers as Envoy prints them: whole ones plainly, others with six digits. */
function textOf(value: unknown): string {
  if (typeof value === 'string') return value
  if (typeof value === 'boolean') return String(value)
  if (typeof value !== 'number') return ''
  return value >= 0 && value < 2 ** 64 && Number.isInteger(value) ? BigInt(value).toString() : value.toFixed(6)
}
