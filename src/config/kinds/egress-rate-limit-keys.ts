/** Which keys of a limit some of its callers may lack. */
import type { LimitKey } from '../../model/limits.ts'
import type { LimitSourceSpec, LimitSpec } from './egress-rate-limit.ts'

/** Fields of `from` that only hold for callers that have the key; null: every request and tunnel has it. */
const PROVED_BY: Readonly<Record<LimitKey, readonly (keyof LimitSourceSpec)[] | null>> = {
  principal: ['principals', 'namespaces', 'serviceAccounts'],
  // An ID that is not of the form /ns/NS/sa/SA has neither, whatever its principal matches.
  namespace: ['namespaces', 'serviceAccounts'],
  serviceAccount: ['namespaces', 'serviceAccounts'],
  host: null,
}

const FIXES: Readonly<Record<LimitKey, string>> = {
  principal: 'add from: [{ principals: ["*"] }], or other principals, namespaces or service accounts, to every entry',
  namespace: 'add from: [{ namespaces: ["*"] }], or other namespaces or service accounts, to every entry',
  serviceAccount: 'add from: [{ namespaces: ["*"] }], or other namespaces or service accounts, to every entry',
  host: '',
}

export type MissingKey = { readonly key: LimitKey; readonly index: number; readonly fix: string }

export function missingKeys({ key: keys, from }: LimitSpec): readonly MissingKey[] {
  return keys.flatMap((key, index) => {
    const fields = PROVED_BY[key]
    const proved =
      fields === null ||
      (from !== undefined &&
        from.length > 0 &&
        from.every((entry) => fields.some((field) => (entry[field]?.length ?? 0) > 0)))
    return proved ? [] : [{ key, index, fix: FIXES[key] }]
  })
}
