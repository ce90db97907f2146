/** Fields that only a verified token may fill (RequestAuthentication). */
import type { TokenRuleModel } from '../model/token.ts'

/** True when a rule fills fields of this name: nobody else does, not in trailers either. `name` in lower case. */
export function isTokenField(rules: readonly TokenRuleModel[], name: string): boolean {
  return rules.some(
    ({ payloadHeader, claimHeaders }) => payloadHeader === name || claimHeaders.some(({ header }) => header === name),
  )
}
